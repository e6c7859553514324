"""The one settings file. Everything comes from the environment (see .env.example); a wrong value stops the start."""

from __future__ import annotations

import ipaddress
import os
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

from django.core.exceptions import ImproperlyConfigured

BASE_DIR = Path(__file__).resolve().parent.parent


def env(name: str, default: str = "") -> str:
    """A text setting."""
    return os.environ.get(name, default)


def env_bool(name: str, default: bool) -> bool:
    """A yes/no setting: 1, true, yes or 0, false, no."""
    value = env(name).lower()
    if value in ("", "1", "true", "yes", "0", "false", "no"):
        return default if not value else value in ("1", "true", "yes")
    raise ImproperlyConfigured(f"{name} is {value!r}: give 1 or 0.")


def env_int(name: str, default: int) -> int:
    """A whole number."""
    value = env(name)
    if not value:
        return default
    if not value.lstrip("-").isdigit():
        raise ImproperlyConfigured(f"{name} is {value!r}: give a whole number.")
    return int(value)


def env_list(name: str, default: str = "") -> list[str]:
    """A comma list."""
    return [item.strip() for item in env(name, default).split(",") if item.strip()]


def env_ports(name: str, default: str) -> list[int]:
    """A comma list of ports."""
    found = env_list(name, default)
    if not found or not all(text.isdigit() and 1 <= int(text) <= 65535 for text in found):
        raise ImproperlyConfigured(f"{name} has to be a comma list of ports, not {','.join(found)!r}.")
    return [int(text) for text in found]


def env_ranges(name: str) -> list[str]:
    """A comma list of IPv4 ranges."""
    try:
        return [str(ipaddress.IPv4Network(text)) for text in env_list(name)]
    except ValueError as error:
        raise ImproperlyConfigured(f"{name} has to be a comma list of IPv4 ranges: {error}.") from None


def env_secret(name: str, default: str = "") -> str:
    """A secret, from NAME or from the file that NAME_FILE names."""
    path = env(f"{name}_FILE")
    if not path:
        return env(name, default)
    try:
        return Path(path).read_text().strip()
    except OSError as error:
        raise ImproperlyConfigured(f"{name}_FILE names {path}, which cannot be read: {error.strerror}.") from None


def database(url: str) -> dict[str, Any]:
    """DATABASES["default"] from `sqlite:///PATH` or `postgresql://USER:PASSWORD@HOST:PORT/NAME?option=…`."""
    parts = urlsplit(url)
    if parts.scheme == "sqlite":
        return {
            "ENGINE": "django.db.backends.sqlite3",
            "NAME": unquote(parts.path[1:]),
            "CONN_MAX_AGE": 60,
            "OPTIONS": {
                "transaction_mode": "IMMEDIATE",
                "timeout": 20,
                "init_command": "PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL;",
            },
        }
    if parts.scheme in ("postgres", "postgresql"):
        return {
            "ENGINE": "django.db.backends.postgresql",
            "NAME": unquote(parts.path[1:]),
            "USER": unquote(parts.username or ""),
            "PASSWORD": unquote(parts.password or ""),
            "HOST": parts.hostname or "",
            "PORT": parts.port or "",
            "CONN_MAX_AGE": 60,
            "OPTIONS": dict(parse_qsl(parts.query)),
        }
    raise ImproperlyConfigured(f"DATABASE_URL starts with {parts.scheme!r}: give sqlite:///… or postgresql://….")


def file_storage(folder: str, container: str) -> dict[str, Any]:
    """An entry of STORAGES: a container of Azure Blob when an account is set, else a folder."""
    url, connection = env("SLIPWAY_BLOB_ACCOUNT_URL").rstrip("/"), env_secret("SLIPWAY_BLOB_CONNECTION_STRING")
    if not url and not connection:
        modes = {"file_permissions_mode": 0o600, "directory_permissions_mode": 0o700}
        return {"BACKEND": "django.core.files.storage.FileSystemStorage", "OPTIONS": {"location": folder, **modes}}
    if url and connection:
        raise ImproperlyConfigured("Give SLIPWAY_BLOB_ACCOUNT_URL or SLIPWAY_BLOB_CONNECTION_STRING, not both.")
    parts = urlsplit(url)
    if url and (parts.query or not parts.hostname or (parts.scheme != "https" and parts.hostname != "127.0.0.1")):
        wanted = "https://ACCOUNT.blob.core.windows.net, without a signature"
        raise ImproperlyConfigured(f"SLIPWAY_BLOB_ACCOUNT_URL is {url.partition('?')[0]!r}: give {wanted}.")
    options = {
        "account_url": url,
        "account_key": env_secret("SLIPWAY_BLOB_KEY"),
        "connection_string": connection,
        "azure_container": container,
    }
    return {"BACKEND": "compute.blobs.BlobStorage", "OPTIONS": options}


DEBUG = env_bool("SLIPWAY_DEBUG", False)
HOME = Path(env("SLIPWAY_HOME") or BASE_DIR / ".slipway")
SECRET_KEY = env_secret(
    "SLIPWAY_SECRET_KEY", "unsafe-key-for-tools-and-tests-only" if DEBUG or env("SLIPWAY_TOOLS", "") else ""
)
SECRET_KEYS = [key for key in env_secret("SLIPWAY_SECRET_KEYS").split(",") if key]
ALLOWED_HOSTS = env_list("SLIPWAY_ALLOWED_HOSTS", "127.0.0.1,localhost")
CSRF_FAILURE_VIEW = "portal.health.csrf_failure"
CSRF_TRUSTED_ORIGINS = env_list("SLIPWAY_TRUSTED_ORIGINS")
DATABASES = {"default": database(env_secret("DATABASE_URL") or f"sqlite:///{HOME}/portal.db")}

VERSION = "0.1.0"  # also in pyproject.toml, which images do not have
# Who scrapes /metrics shows it as a bearer token; empty: there is no /metrics.
METRICS_TOKEN = env_secret("SLIPWAY_METRICS_TOKEN")

INSTALLED_APPS = [
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "django.contrib.staticfiles",
    "django.contrib.humanize",
    "django_htmx",
    "rest_framework",
    "drf_spectacular",
    "drf_spectacular_sidecar",
    "csp",
    "portal",
    "compute",
    "deployments",
    "endpoints",
]
MIDDLEWARE = [
    "portal.middleware.server_timing",
    "django.middleware.security.SecurityMiddleware",
    "whitenoise.middleware.WhiteNoiseMiddleware",
    "csp.middleware.CSPMiddleware",
    "portal.middleware.lenient_slash",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
    "django_htmx.middleware.HtmxMiddleware",
    "django_structlog.middlewares.RequestMiddleware",
    "portal.middleware.problems_as_pages",
]
ROOT_URLCONF = "portal.urls"
WSGI_APPLICATION = "portal.wsgi.application"
AUTH_USER_MODEL = "portal.User"
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "DIRS": [BASE_DIR / "templates"],
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
                "portal.views.shell",
            ]
        },
    }
]
AUTH_PASSWORD_VALIDATORS = [
    {"NAME": f"django.contrib.auth.password_validation.{name}"}
    for name in ("UserAttributeSimilarityValidator", "MinimumLengthValidator", "CommonPasswordValidator")
]
LOGIN_URL, LOGIN_REDIRECT_URL, LOGOUT_REDIRECT_URL = "/sign-in/", "/", "/sign-in/"
LANGUAGE_CODE, TIME_ZONE, USE_I18N, USE_TZ = "en", "UTC", False, True
STATIC_URL = "/static/"
STATIC_ROOT = Path(env("SLIPWAY_STATIC_ROOT") or HOME / "static")
STATICFILES_DIRS = [BASE_DIR / "static"]
STORAGES = {
    "default": {"BACKEND": "django.core.files.storage.FileSystemStorage"},
    "artifacts": file_storage(
        env("SLIPWAY_ARTIFACTS") or str(HOME / "artifacts"), env("SLIPWAY_BLOB_CONTAINER", "slipway")
    ),
    # Apart from the others: what callers sent may be personal.
    "collected": file_storage(
        env("SLIPWAY_COLLECTED") or str(HOME / "collected"),
        env("SLIPWAY_BLOB_COLLECTED_CONTAINER", "slipway-collected"),
    ),
    "staticfiles": {"BACKEND": "whitenoise.storage.CompressedStaticFilesStorage"},
}
WHITENOISE_USE_FINDERS = True
WHITENOISE_AUTOREFRESH = DEBUG

CACHE_URL = env("SLIPWAY_CACHE_URL")
CACHES = {
    "default": {"BACKEND": "portal.caches.Forgetful", "LOCATION": CACHE_URL}
    if CACHE_URL
    else {"BACKEND": "django.core.cache.backends.locmem.LocMemCache"}
}

# Celery: a message is a doorbell; the operation row is the truth.
CELERY_BROKER_URL = env("SLIPWAY_BROKER_URL", "memory://")
CELERY_TASK_ACKS_LATE = True
CELERY_TASK_REJECT_ON_WORKER_LOST = True
CELERY_TASK_IGNORE_RESULT = True
CELERY_WORKER_PREFETCH_MULTIPLIER = 1
CELERY_TASK_TIME_LIMIT = 90
CELERY_TASK_SOFT_TIME_LIMIT = 80
CELERY_WORKER_SOFT_SHUTDOWN_TIMEOUT = 10
CELERY_WORKER_HIJACK_ROOT_LOGGER = False
CELERY_TASK_PUBLISH_RETRY = False
CELERY_BROKER_CONNECTION_TIMEOUT = 2
CELERY_BROKER_CONNECTION_RETRY_ON_STARTUP = True
CELERY_BROKER_TRANSPORT_OPTIONS = {
    "visibility_timeout": 120,
    "unacked_restore_interval": 5,
    "unacked_restore_throttle": 1,
    "socket_timeout": None,
    "socket_connect_timeout": 2,
}
CELERY_BEAT_SCHEDULER = "celery.beat:Scheduler"
OPERATION_LEASE_SECONDS = env_int("SLIPWAY_OPERATION_LEASE_SECONDS", 20)

REST_FRAMEWORK: dict[str, Any] = {
    "DEFAULT_AUTHENTICATION_CLASSES": [
        "portal.authentication.TokenAuthentication",
        "portal.authentication.PageSession",
    ],
    "DEFAULT_PERMISSION_CLASSES": ["rest_framework.permissions.IsAuthenticated"],
    "DEFAULT_RENDERER_CLASSES": ["rest_framework.renderers.JSONRenderer"],
    "DEFAULT_PARSER_CLASSES": ["rest_framework.parsers.JSONParser"],
    "EXCEPTION_HANDLER": "portal.http.problem_response",
    "DEFAULT_SCHEMA_CLASS": "portal.schema.ProblemSchema",
    "UNAUTHENTICATED_USER": None,
}
SPECTACULAR_SETTINGS = {
    "TITLE": "Slipway",
    "DESCRIPTION": "Deploy machine-learning models on Azure Kubernetes Service.",
    "VERSION": "1",
    "OAS_VERSION": "3.1.0",
    "SERVE_INCLUDE_SCHEMA": False,
    "SERVE_PERMISSIONS": ["rest_framework.permissions.IsAuthenticated"],
    "SWAGGER_UI_DIST": "SIDECAR",
    "SWAGGER_UI_FAVICON_HREF": "SIDECAR",
    "COMPONENT_SPLIT_REQUEST": True,
}

_self = ["'self'"]
CONTENT_SECURITY_POLICY = {
    "DIRECTIVES": {
        "default-src": _self,
        "img-src": ["'self'", "data:"],
        "frame-ancestors": ["'none'"],
        "form-action": _self,
        "base-uri": ["'none'"],
        "object-src": ["'none'"],
    }
}
SECURE_CONTENT_TYPE_NOSNIFF = True
SECURE_REFERRER_POLICY = "same-origin"
X_FRAME_OPTIONS = "DENY"
SESSION_COOKIE_HTTPONLY = True
SESSION_COOKIE_SAMESITE = "Lax"
SESSION_COOKIE_SECURE = env_bool("SLIPWAY_SECURE_COOKIES", False)
CSRF_COOKIE_SECURE = SESSION_COOKIE_SECURE
SECURE_SSL_REDIRECT = env_bool("SLIPWAY_HTTPS_ONLY", False)
SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https") if env_bool("SLIPWAY_BEHIND_PROXY", False) else None
FILE_UPLOAD_PERMISSIONS = 0o600
FILE_UPLOAD_TEMP_DIR = env("TMPDIR") or None
DATA_UPLOAD_MAX_MEMORY_SIZE = 2_621_440

# Where the portal may connect when a person gave the address, beside public https (comma list of CIDRs).
OUTBOUND_ALLOW = env_list("SLIPWAY_OUTBOUND_ALLOW")
# The addresses that others see the portal's requests come from (comma list of IPv4 CIDRs); empty: it does not know.
OUTGOING_RANGES = env_ranges("SLIPWAY_OUTGOING_RANGES")
# How clusters reach the portal (init containers fetch code and models there).
URL_FOR_CLUSTERS = env("SLIPWAY_URL_FOR_CLUSTERS", "http://127.0.0.1:8000")
CA_FILE_FOR_CLUSTERS = env("SLIPWAY_CA_FILE_FOR_CLUSTERS")
GATEWAY_HTTP_PORT = env_int("SLIPWAY_GATEWAY_HTTP_PORT", 80)
GATEWAY_HTTPS_PORT = env_int("SLIPWAY_GATEWAY_HTTPS_PORT", 443)
# How often replicas bring the requests that they collect.
COLLECT_SECONDS = env_int("SLIPWAY_COLLECT_SECONDS", 30)
# Who signs the gateways' certificates (PEM; the signing authority first in its chain); empty: they sign themselves.
TLS_ISSUER_CERTIFICATE = env_secret("SLIPWAY_TLS_ISSUER_CERTIFICATE")
TLS_ISSUER_KEY = env_secret("SLIPWAY_TLS_ISSUER_KEY")
TLS_DAYS = env_int("SLIPWAY_TLS_DAYS", 30)
INFERENCE_IMAGE = env("SLIPWAY_INFERENCE_IMAGE", "slipway/inference-base:1")
# What environments are built on; {python} is their version. Empty: the official images of Python and micromamba.
BASE_IMAGE = env("SLIPWAY_BASE_IMAGE")
CONDA_BASE_IMAGE = env("SLIPWAY_CONDA_BASE_IMAGE")
ENVOY_IMAGE = env("SLIPWAY_ENVOY_IMAGE", "envoyproxy/envoy:v1.40-latest")
# How much a replica may write beside its code and models (caches, /tmp), in GiB.
REPLICA_SCRATCH_GIB = env_int("SLIPWAY_REPLICA_SCRATCH_GIB", 5)
# Where API servers listen, as a gateway's pod sees them: what may leave it, beside calls to replicas.
API_SERVER_PORTS = env_ports("SLIPWAY_API_SERVER_PORTS", "443,6443")
SANDBOX_NOTICE = env("SLIPWAY_SANDBOX_NOTICE", "")

LOGGING: dict[str, Any] = {
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {
        "json": {
            "()": "structlog.stdlib.ProcessorFormatter",
            "processors": "ext://portal.logs.PROCESSORS",
            "foreign_pre_chain": "ext://portal.logs.FOREIGN",
        }
    },
    "handlers": {"console": {"class": "logging.StreamHandler", "formatter": "json"}},
    "root": {"handlers": ["console"], "level": env("SLIPWAY_LOG_LEVEL", "INFO")},
    "loggers": {
        "azure": {"level": "WARNING"},
        "kubernetes": {"level": "WARNING"},
        "urllib3": {"level": "WARNING"},
        "django.server": {"level": "WARNING"},
    },
}
