"""The page in a real browser: by mouse and by keyboard, wide and on a phone, of every scale."""

import re
from contextlib import ExitStack

import pytest
from helpers import Server, train_into, written

from d2l_autorec.trained_model import load_run

playwright = pytest.importorskip("playwright.sync_api", reason="no playwright: see setup.cfg")
expect = playwright.expect

WIDE, PHONE = {"width": 1280, "height": 800}, {"width": 390, "height": 844}

# title, a part of it that finds it first, id, stars
FILMS = [
    ("Star Wars (1977)", "star wars", 50, 5),
    ("Fargo (1996)", "farg", 100, 4),
    ("Toy Story (1995)", "TOY", 1, 4),
    ("Liar Liar (1997)", "liar", 294, 1),
    ("Godfather, The (1972)", "the godfather", 127, 2),
]
pytestmark = pytest.mark.filterwarnings("ignore")
SMALL = dict(quiet=True, cpus=1, seed=3, hidden=(4,), epochs=1, batch_size=16)
HOSTILE = [
    "<img src=x onerror=alert(1)>",
    "</script><script>alert(2)</script>",
    "a/b",
    "..",
    "?x=1#y",
    "a%20b",
    "__proto__",
    "007",
    "7",
    'o\'neil "q" & co',
    "üñí ☃",
    "שלום עולם",
    "x" * 120,
]


def trained(folder, **options):
    """A small model, with an export beside it."""
    train_into(folder, **{**SMALL, **options})
    model = load_run(folder)
    model.export(folder / "export")
    return model


def ratings_file(folder, items, values):
    """Everybody rates all items but one."""
    lines = ["user,item,rating"]
    for user in range(25):
        for place, item in enumerate(items):
            quoted = str(item).replace('"', '""')
            if place != user % len(items):
                lines.append(f'{user},"{quoted}",{values[(user * place) % len(values)]}')

    return str(written(folder, "\n".join(lines) + "\n"))


@pytest.fixture
def open_page(browser):
    """Opens the page of a server; at the end no request has left it, and nothing went wrong."""
    contexts, origins, urls, complaints = [], [], [], []

    def call(server, **options):
        context = browser.new_context(viewport=WIDE, **options)
        contexts.append(context)
        origins.append(server.url)
        page = context.new_page()
        page.set_default_timeout(10_000)

        page.on("request", lambda request: urls.append(request.url))
        page.on("console", lambda message: complaints.append(message.text))
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on("dialog", lambda dialog: complaints.append(dialog.message))

        page.goto(server.url)
        expect(page.locator("#popular li").first).to_be_visible()
        return page

    call.complaints = complaints
    yield call
    for context in contexts:
        context.close()

    own = tuple(f"{origin}/" for origin in origins)
    assert urls and all(url.startswith(own) for url in urls)
    assert complaints == []


@pytest.fixture(scope="module")
def films(browser, data_dir, tmp_path_factory):
    """A small model of ML-100K."""
    folder = tmp_path_factory.mktemp("page") / "films"
    data = dict(dataset="ml-100k", data_dir=str(data_dir))
    return trained(folder, **data, hidden=(20,), epochs=3, batch_size=256)


@pytest.fixture(scope="module")
def cinema(films):
    with Server(films.path) as server:
        yield server


@pytest.fixture
def served(browser, tmp_path):
    """Serves a small model of some options."""
    with ExitStack() as servers:

        def call(**options):
            model = trained(tmp_path / "run", **options)
            return servers.enter_context(Server(model.path))

        yield call


def stars_of(page, title):
    return page.get_by_role("group", name=title, exact=True).get_by_role("radio")


def rows(page):
    """Title and names in the reason of each recommendation."""
    return [
        (item.locator("div > bdi").text_content(), item.locator("p bdi").all_text_contents())
        for item in page.locator("#recommendations li").all()
    ]


def enter(page, text):
    """Search, and take what is found first."""
    page.get_by_role("combobox").fill(text)
    page.get_by_role("combobox").press("Enter")


def wait_for(page, number, noun="rating"):
    expect(page.locator("#status")).to_contain_text(
        re.compile(f"^Based on your {number} {noun}s?$")
    )


def recommended(films, rated):
    """What the library recommends."""
    return films.recommend_new_user({item: value for *_, item, value in rated}, 10)


def assert_recommends(page, films, rated):
    """Ten films, none of them rated, for reasons that are; they are the library's."""
    found = rows(page)
    titles = [title for title, _ in found]
    names = {title for title, *_ in rated}

    assert titles == [row.title for row in recommended(films, rated)]
    assert len(titles) == 10 and not names & set(titles)
    assert all(set(reasons) <= names for _, reasons in found)


@pytest.mark.realdata
def test_five_films_by_keyboard(films, cinema, open_page):
    """Enter leads from the search to the stars, Shift+Tab back; digits and arrows rate."""
    page = open_page(cinema)
    keys = page.keyboard
    for number, (title, text, _, value) in enumerate(FILMS, 1):
        expect(page.get_by_role("combobox")).to_be_focused()
        keys.type(text)
        keys.press("Enter")  # before the list is there
        expect(stars_of(page, title).first).to_be_focused()
        keys.press(str(value))
        wait_for(page, number)
        keys.press("Shift+Tab")
    assert_recommends(page, films, FILMS)

    title, text, item, value = FILMS[-1]
    keys.press("Tab")
    expect(stars_of(page, title).nth(value - 1)).to_be_focused()
    with page.expect_response("**/recommend"):
        keys.press("ArrowRight")
    expect(stars_of(page, title).nth(value)).to_be_checked()

    changed = [*FILMS[:-1], (title, text, item, value + 1)]
    best = [row.title for row in recommended(films, changed)]
    expect(page.locator("#recommendations div > bdi")).to_have_text(best)
    assert_recommends(page, films, changed)


@pytest.mark.realdata
def test_popular_and_recommended_items_are_rated_in_place(cinema, open_page):
    page = open_page(cinema)
    first = page.locator("#popular legend").first.text_content()
    stars_of(page, first).nth(3).click()
    wait_for(page, 1)
    expect(page.locator("#rated legend")).to_have_text([first])
    expect(page.locator("#popular li")).to_have_count(8)

    ((best, _), *_) = rows(page)
    page.get_by_role("button", name=f"Rate: {best}").click()
    expect(stars_of(page, best).first).to_be_focused()
    page.keyboard.press("5")
    wait_for(page, 2)
    assert best not in [title for title, _ in rows(page)]

    page.reload()
    wait_for(page, 2)
    expect(page.locator("#rated legend")).to_have_text([best, first])
    expect(stars_of(page, best).nth(4)).to_be_checked()


@pytest.mark.realdata
def test_fits_a_phone_and_has_names(cinema, open_page):
    page = open_page(cinema, has_touch=True, is_mobile=True)
    page.set_viewport_size(PHONE)
    page.get_by_role("combobox").fill("the")
    expect(page.get_by_role("option")).to_have_count(8)
    assert_fits(page)
    assert_has_names(page)

    page.get_by_role("option").first.tap()
    page.locator("#rated").get_by_role("radio").nth(4).tap()
    wait_for(page, 1)
    assert_fits(page)
    assert_has_names(page)

    ratings = page.locator("#rate").bounding_box()
    recommendations = page.locator("#recommended").bounding_box()
    assert recommendations["y"] >= ratings["y"] + ratings["height"]


def assert_fits(page):
    width, inner = page.evaluate("[document.documentElement.scrollWidth, window.innerWidth]")
    assert width <= inner == PHONE["width"]


def assert_has_names(page):
    """Of all that a screen reader tells by role and name."""
    roles = "button|radio|combobox|spinbutton|link|listbox|option|group|list|region|heading"
    told = page.locator("body").aria_snapshot()
    found = re.findall(rf"^ *- '?({roles})\b(.*)$", told, re.MULTILINE)
    assert {"combobox", "radio", "group", "heading"} <= {role for role, _ in found}
    assert [role for role, rest in found if not re.match(r' "\S', rest)] == []


@pytest.mark.realdata
def test_answers_out_of_date_and_errors(films, open_page):
    with Server(films.path) as server:
        page = open_page(server)
        popular = page.locator("#popular legend").all_text_contents()

        held = []

        def hold_the_first(route):
            if held:
                route.continue_()
            held.append(route)

        page.route("**/recommend", hold_the_first)
        with page.expect_request("**/recommend"):
            stars_of(page, popular[0]).nth(4).click()
        stars_of(page, popular[1]).nth(4).click()
        wait_for(page, 2)
        held[0].fulfill(json={"recommendations": [], "remarks": []})
        page.wait_for_timeout(100)
        assert len(rows(page)) == 10

        problem = {"error": "<b>the scale</b> is 1..5"}
        page.route("**/recommend", lambda route: route.fulfill(status=422, json=problem))
        stars_of(page, popular[2]).nth(4).click()
        expect(page.get_by_role("alert")).to_have_text(problem["error"])
        assert rows(page) == []
        page.get_by_role("combobox").fill("star")
        expect(page.get_by_role("option").first).to_be_visible()
        page.get_by_role("combobox").press("Escape")
        expect(page.get_by_role("alert")).to_have_text(problem["error"])

        reasons = [{"item": "1", "title": "A"}, {"item": "2", "title": "B"}]
        made = [
            dict(item=str(k), title=f"Film {k}", score=4, ratings=3 + 9 * k, because=reasons[:n])
            for k, n in enumerate((1, 2, 1))
        ]
        answer = {"recommendations": made, "remarks": []}
        page.route("**/recommend", lambda route: route.fulfill(json=answer))
        stars_of(page, popular[2]).nth(3).click()
        wait_for(page, 3)
        assert rows(page) == [("Film 0", []), ("Film 1", ["B"]), ("Film 2", [])]
        expect(page.locator("#recommendations li").first).to_contain_text("3 ratings in all")
        assert page.get_by_text("in all").count() == 1

        page.unroute_all()
        server.stop()
        stars_of(page, popular[3]).nth(4).click()
        expect(page.get_by_role("alert")).to_contain_text("The server does not answer")
        expect(page.locator("#rated li")).to_have_count(4)

    noted = [text for text in open_page.complaints if "Failed to load resource" in text]
    assert len(noted) == 2  # what the browser notes of the two failures
    open_page.complaints[:] = [text for text in open_page.complaints if text not in noted]


def test_ids_and_titles_are_text(served, open_page, tmp_path):
    """Of an item without a title the id is shown, and any id comes back as it went out."""
    server = served(ratings=ratings_file(tmp_path, HOSTILE, (1, 2, 3, 4, 5)))
    page = open_page(server)
    assert set(page.locator("#popular legend").all_text_contents()) <= set(HOSTILE)

    page.set_viewport_size(PHONE)
    for number, name in enumerate(HOSTILE[:-1], 1):
        enter(page, name)
        expect(stars_of(page, name).first).to_be_focused()
        page.keyboard.press("4")
        wait_for(page, number)
        assert_fits(page)
    assert [title for title, _ in rows(page)] == HOSTILE[-1:]

    title = "<b onclick=alert(3)>Title</b>"
    item = {"item": "7", "title": title, "ratings": 1}
    page.route("**/items?search=*", lambda route: route.fulfill(json={"items": [item]}))
    page.get_by_role("combobox").fill("title")
    expect(page.get_by_role("option")).to_have_text(f"{title}1 rating")


def test_numbers_on_another_scale(served, open_page, tmp_path):
    items = [f"item {place}" for place in range(15)]
    page = open_page(served(ratings=ratings_file(tmp_path, items, (-9.96, 2.5, 10))))
    box = page.get_by_role("group", name="item 3", exact=True).get_by_role("spinbutton")
    expect(box).to_have_accessible_name("Rating, -9.9 to 10")

    box.focus()
    for typed in ("7", ".", "2", "5"):  # the answer comes before Enter, and leaves the cursor alone
        page.keyboard.type(typed)
        page.wait_for_timeout(250)
    wait_for(page, 1)
    expect(box).to_have_value("7.25")
    expect(page.locator("#rated li")).to_have_count(0)
    box.press("Enter")
    expect(page.locator("#rated li")).to_have_count(1)
    wait_for(page, 1)
    expect(box).to_be_focused()
    box.press("ArrowUp")
    expect(box).to_have_value("8.25")

    box.fill("11")
    box.press("Enter")
    expect(page.locator("#status")).to_have_text("They appear here with your first rating.")
    assert not box.evaluate("box => box.validity.valid")


def test_a_model_that_ranks_is_told_likes(served, open_page):
    clicks = dict(heldout_users=12, threshold=3.0, min_user_clicks=1)
    page = open_page(served(model="mult-vae", dataset="synthetic:60x80x900", **clicks))
    names = page.locator("#popular legend").all_text_contents()
    like = page.get_by_role("group", name=names[2], exact=True).get_by_role("button").first
    like.click()
    wait_for(page, 1, "like")
    expect(like).to_have_attribute("aria-pressed", "true")
    assert all(set(reasons) <= {names[2]} for _, reasons in rows(page))

    enter(page, names[5])
    wait_for(page, 2, "like")
    expect(page.locator("#rated legend")).to_have_text([names[5], names[2]])
    like.click()
    wait_for(page, 1, "like")
    expect(like).to_have_attribute("aria-pressed", "false")
