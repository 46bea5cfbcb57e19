"""The WSGI entry point; it serves the admin site's static files too, because nothing else here does."""

import os

from django.contrib.staticfiles.handlers import StaticFilesHandler
from django.core.wsgi import get_wsgi_application

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "settings")
application = StaticFilesHandler(get_wsgi_application())
