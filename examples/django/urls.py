"""Where each page lives."""

from django.contrib import admin
from django.urls import path
from invoices import views

urlpatterns = [
    path("", views.index),
    path("invoices/", views.invoices),
    path("whoami", views.whoami),
    path("admin/", admin.site.urls),
]
