# keepserve as an image, and as the base of yours:
#
#   FROM keepserve
#   USER root
#   RUN /usr/local/bin/python -m pip --python /opt/keepserve/bin/python install --no-cache-dir fastapi
#   USER 10001:10001
#   COPY main.py ./
#   CMD ["main:app"]
#
# Every option has an environment variable: docker run -e KEEPSERVE_LB=alb -e KEEPSERVE_WORKERS=auto ...

ARG PYTHON=3.13

# Builds a virtual environment without pip in it; only that is copied, so neither pip's cache nor the
# sources become a layer of the image.
FROM python:${PYTHON}-slim AS build
WORKDIR /src
COPY pyproject.toml README.md LICENSE ./
COPY keepserve ./keepserve
RUN python -m venv --without-pip /opt/keepserve
RUN python -m pip --python /opt/keepserve/bin/python install --no-cache-dir .

FROM python:${PYTHON}-slim
RUN useradd --user-group --uid 10001 --no-create-home --home-dir /app --shell /usr/sbin/nologin keepserve
COPY --from=build /opt/keepserve /opt/keepserve
ENV PATH=/opt/keepserve/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    KEEPSERVE_HOST=0.0.0.0
WORKDIR /app
# By number, so that Kubernetes can check runAsNonRoot.
USER 10001:10001
EXPOSE 8000

# keepserve drains on SIGTERM: answers say Connection: close, running requests finish, then it exits 0.
STOPSIGNAL SIGTERM

# Any answer below 500 is healthy: that the server and the application answer is the question, not what is
# at "/". KEEPSERVE_HEALTH_PATH, which keepserve answers itself, is asked for instead where it is set, and HEALTH_PATH
# before both. For TLS or a Unix socket write a HEALTHCHECK of your own.
HEALTHCHECK --interval=10s --timeout=5s --start-period=60s --retries=3 \
    CMD ["python", "-c", "import http.client, os, sys; e = os.environ; port = int(e.get('KEEPSERVE_PORT') or e.get('PORT') or 8000); c = http.client.HTTPConnection('127.0.0.1', port, timeout=4); c.request('GET', e.get('HEALTH_PATH') or e.get('KEEPSERVE_HEALTH_PATH') or '/', headers={'Connection': 'close', 'User-Agent': 'healthcheck'}); sys.exit(c.getresponse().status >= 500)"]

# Exec form: keepserve is process 1 and gets the signals itself; no shell stands between.
ENTRYPOINT ["keepserve"]
CMD ["keepserve.demo:app"]
