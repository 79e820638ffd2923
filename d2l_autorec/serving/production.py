r"""How to run d2l_autorec.serve in production; this module is nothing but this page.

`python -m pydoc d2l_autorec.serving.production` shows it. A test of the package runs what it says,
except the container and Prometheus itself.

Next week's run
---------------
`serve` takes a run folder, a link to one, or a folder of runs, of which it serves the one that
was finished last. It looks there twice a second. A newer run is loaded while the old model answers,
and taken up by every worker without closing a connection: no request is lost. stderr says so, or
why it cannot be loaded; then the old model goes on answering. To go back, move the newer run away,
or let the link lead to the older one. This script, for cron or a timer, is called with a csv file::

    #!/bin/sh
    set -e
    cd /srv/d2l_autorec
    name=$(date +%F-%H%M%S)
    python -m d2l_autorec.run --quiet --test-ratio 0 --ratings "$1" --out "new/$name"
    python -m d2l_autorec.export "new/$name"
    mv "new/$name" runs/

systemd
-------
/etc/systemd/system/d2l_autorec.service::

    [Unit]
    Description=Recommendations by d2l_autorec
    After=network.target

    [Service]
    WorkingDirectory=/srv/d2l_autorec
    ExecStart=/srv/d2l_autorec/venv/bin/python -m d2l_autorec.serve runs --workers 2
    # a user that exists while it runs, may write nowhere, and has a /tmp of its own
    DynamicUser=yes
    # how it ends by SIGTERM, once all requests in hand are answered
    SuccessExitStatus=143
    Restart=on-failure

    [Install]
    WantedBy=multi-user.target

nginx
-----
nginx adds TLS, and limits who may ask and how often, by /etc/nginx/conf.d/d2l_autorec.conf. The
file of users has a line for each: `name:` and what `openssl passwd -apr1` prints::

    limit_req_zone $binary_remote_addr zone=clients:10m rate=50r/s;

    upstream d2l_autorec {
        server 127.0.0.1:8000;
        keepalive 32;
        keepalive_timeout 5s;  # before the server ends a silent connection, after 10
    }

    server {
        listen 443 ssl default_server;
        ssl_reject_handshake on;  # of other names
        return 444;
    }

    server {
        listen 443 ssl;
        server_name recommend.example;
        ssl_certificate /etc/ssl/recommend.pem;
        ssl_certificate_key /etc/ssl/recommend.key;

        location / {
            auth_basic "recommendations";
            auth_basic_user_file /etc/nginx/d2l_autorec.users;
            limit_req zone=clients burst=100 nodelay;
            limit_req_status 429;

            proxy_pass http://d2l_autorec;
            proxy_http_version 1.1;
            proxy_set_header Connection "";
            proxy_set_header Host localhost;  # else name it by --allowed-host
        }

        location = /metrics {
            return 404;  # Prometheus asks the server itself
        }
    }

A container
-----------
This runs the image that .devcontainer/Dockerfile makes; only /tmp is written::

    docker run -d --name recommend --restart unless-stopped --read-only --tmpfs /tmp \
        -v "$PWD/runs:/work/runs:ro" -p 127.0.0.1:8000:8000 \
        d2l_autorec d2l_autorec.serve runs --host 0.0.0.0 --workers 2

Prometheus
----------
/metrics counts and times the requests to all workers since the start, and tells when the run that
is served was finished. Here are a job, and expressions for two alerts: the model is old, or one
request in a hundred is slow::

    scrape_configs:
      - job_name: d2l_autorec
        static_configs: [{targets: ["127.0.0.1:8000"]}]

    time() - d2l_autorec_model_trained_timestamp_seconds > 8 * 86400
    histogram_quantile(0.99, sum by (le) (rate(http_request_duration_seconds_bucket[5m]))) > 0.1

`--access-log` writes a line to stdout for each request: time, address, path without parameters,
status and milliseconds.
"""
