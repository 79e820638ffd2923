"""Where ratings come from: files at hand, downloads whole, broken and impossible."""

import functools
import hashlib
import http.server
import io
import threading
import zipfile

import pytest
from helpers import assert_user_error

from d2l_autorec.data import sources
from d2l_autorec.data.sources import load_ratings
from d2l_autorec.support.errors import DataError, DataWarning

U_DATA = "196\t242\t3\t881250949\n186\t302\t3\t891717742\n22\t377\t1\t878887116\n"


def make_zip(files):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as bundle:
        for name, text in files.items():
            bundle.writestr(name, text)
    return buffer.getvalue()


GOOD_ZIP = make_zip({"ml-100k/u.data": U_DATA, "ml-100k/README": "hello"})


def expect(monkeypatch, archive, name="ml-100k"):
    """Have a data set be a small zip file of ours."""
    digest = "sha256:" + hashlib.sha256(archive).hexdigest()
    monkeypatch.setitem(sources.DATASETS, name, sources.DATASETS[name]._replace(digest=digest))


@pytest.fixture
def server(tmp_path, monkeypatch):
    """Serves a folder on loopback; returns the folder."""

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *_):
            pass

        def do_GET(self):
            if self.path.endswith("ml-100k.zip") and (folder / "cut").exists():
                body = (folder / "ml-100k.zip").read_bytes()
                self.send_response(200)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body[: len(body) // 2])  # the connection breaks half way
            else:
                super().do_GET()

    folder = tmp_path / "served"
    folder.mkdir()
    handler = functools.partial(Quiet, directory=str(folder))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as httpd:
        threading.Thread(target=httpd.serve_forever, daemon=True).start()
        monkeypatch.setenv("D2L_AUTOREC_URL", f"http://127.0.0.1:{httpd.server_port}/")
        expect(monkeypatch, GOOD_ZIP)
        yield folder
        httpd.shutdown()


def test_download_unpack_and_reuse(server, tmp_path):
    (server / "ml-100k.zip").write_bytes(GOOD_ZIP)
    cache = tmp_path / "cache"
    ratings = load_ratings("ml-100k", cache)
    assert ratings.name == "ml-100k"
    assert ratings.user_ids[ratings.users].tolist() == [196, 186, 22]
    assert ratings.item_ids[ratings.items].tolist() == [242, 302, 377]
    assert ratings.values.tolist() == [3, 3, 1]
    assert sorted(p.name for p in cache.iterdir()) == ["ml-100k", "ml-100k.zip"]
    (server / "ml-100k.zip").unlink()  # no second download
    assert load_ratings("auto", cache).fingerprint == ratings.fingerprint


def test_zip_at_hand(tmp_path, server):
    (tmp_path / "ml-100k.zip").write_bytes(GOOD_ZIP)  # the server has none
    assert len(load_ratings("ml-100k", tmp_path)) == 3


@pytest.mark.parametrize("case", ["missing", "corrupt", "cut", "no u.data"])
def test_bad_download_leaves_nothing_that_is_taken_for_data(server, tmp_path, monkeypatch, case):
    content = {"corrupt": b"x" + GOOD_ZIP[1:], "no u.data": make_zip({"ml-100k/README": "x"})}
    if case != "missing":
        (server / "ml-100k.zip").write_bytes(content.get(case, GOOD_ZIP))
    if case == "cut":
        (server / "cut").touch()
    if case == "no u.data":
        expect(monkeypatch, content[case])
    cache = tmp_path / "cache"
    with pytest.raises(DataError, match="ml-100k"):
        load_ratings("ml-100k", cache)
    assert not (cache / "ml-100k").exists()
    with pytest.warns(DataWarning, match="GENERATED.*NOT comparable"):
        assert load_ratings("auto", cache).name == "synthetic"
    (server / "cut").unlink(missing_ok=True)  # the next try succeeds
    (cache / "ml-100k.zip").unlink(missing_ok=True)  # of the archive without u.data
    (server / "ml-100k.zip").write_bytes(GOOD_ZIP)
    expect(monkeypatch, GOOD_ZIP)
    assert load_ratings("ml-100k", cache).name == "ml-100k"


def test_interrupted_unpack(server, tmp_path, monkeypatch):
    (server / "ml-100k.zip").write_bytes(GOOD_ZIP)
    cache = tmp_path / "cache"
    extract = zipfile.ZipFile.extractall

    def interrupted(self, path):
        extract(self, path)
        raise KeyboardInterrupt

    monkeypatch.setattr(zipfile.ZipFile, "extractall", interrupted)
    with pytest.raises(KeyboardInterrupt):
        load_ratings("ml-100k", cache)
    assert [p.name for p in cache.iterdir()] == ["ml-100k.zip"]


def test_explicit_data_set_never_falls_back(in_process, tmp_path):
    process = in_process("run", "--dataset", "ml-100k", "--data-dir", "none")
    assert_user_error(process, "ml-100k is not in", "--data-dir or D2L_AUTOREC_DATA")
    assert not (tmp_path / "runs").exists()


A_HALF = "the number must be from 20 to 100, half of all pairs"
TWO_OR_MORE = "there must be 2 or more of both, and not more than 2147483647"


@pytest.mark.parametrize(
    "shape, allowed",
    [
        ((10, 20, 19), A_HALF),
        ((10, 20, 150), A_HALF),
        ((0, 0, 0), TWO_OR_MORE),
        ((1, 2, 2), TWO_OR_MORE),
        ((2, 2**31, 2**31), TWO_OR_MORE),
    ],
)
def test_impossible_generated_sets(shape, allowed):
    with pytest.raises(DataError, match=f"{shape[2]} generated .* {shape[1]} items: {allowed}"):
        sources.synthetic_ratings(*shape)


RATINGS_CSV = "userId,movieId,rating,timestamp\n1,2,3.5,1112486027\n1,29,0.5,1112484676\n"
MOVIES_CSV = 'movieId,title,genres\n2,"Jumanji, the film (1995)",Adventure\n29,Été (1995),Drama\n'


def test_ml20m_is_downloaded_and_parsed(server, tmp_path, monkeypatch):
    archive = make_zip({"ml-20m/ratings.csv": RATINGS_CSV, "ml-20m/movies.csv": MOVIES_CSV})
    (server / "ml-20m.zip").write_bytes(archive)
    with pytest.raises(DataError, match="ml-20m is not in"):  # not what the publisher made
        load_ratings("ml-20m", tmp_path / "other")
    expect(monkeypatch, archive, "ml-20m")
    ratings = load_ratings("ml-20m", tmp_path / "cache")
    assert ratings.name == "ml-20m" and ratings.scale == (0.5, 5.0)
    assert ratings.item_ids[ratings.items].tolist() == [2, 29]
    assert ratings.values.tolist() == [3.5, 0.5]
    assert ratings.titles == {2: "Jumanji, the film (1995)", 29: "Été (1995)"}


def test_generated_ratings_stay_as_they_are():
    """Published figures of the package were measured on them."""
    ratings = sources.synthetic_ratings(60, 80, 900)
    arrays = ratings.users, ratings.items, ratings.values, ratings.timestamps
    digest = hashlib.sha256(b"".join(array.tobytes() for array in arrays)).hexdigest()
    assert digest.startswith("6a39b31ec881")

    usual = sources.synthetic_ratings()
    assert (usual.num_users, usual.num_items, len(usual)) == (943, 1682, 100_000)
