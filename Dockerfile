FROM python:3.13-slim
ENV PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1 SLIPWAY_ARTIFACTS=/data/artifacts SLIPWAY_HOME=/data
RUN useradd --uid 10001 --create-home slipway && mkdir /data && chown slipway /data && chmod 700 /data
WORKDIR /app
COPY requirements.lock .
RUN pip install --no-cache-dir --require-hashes -r requirements.lock
COPY manage.py ./
COPY portal portal
COPY compute compute
COPY deployments deployments
COPY endpoints endpoints
COPY templates templates
COPY static static
USER slipway
EXPOSE 8000
CMD ["gunicorn", "portal.wsgi:application", "--worker-class", "gthread", "--workers", "2", "--threads", "4", "--preload", "--no-control-socket", "--umask", "077", "--bind", "0.0.0.0:8000"]
