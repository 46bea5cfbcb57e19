"""Pages of the invoices application."""

from django import forms
from django.http import HttpResponseNotAllowed, JsonResponse
from django.shortcuts import redirect, render
from django.views.decorators.http import require_safe

from .models import Invoice

# Beginnings of the META keys that speak of a person or of the connection; whoami shows their values.
IDENTITY_KEYS = (
    "HTTP_X_AUTH",
    "HTTP_X_FORWARDED",
    "HTTP_FORWARDED",
    "HTTP_REMOTE_",
    "HTTP_X_REAL_IP",
    "HTTP_X_ORIGINAL",
    "HTTP_X_REQUEST_ID",
    "REMOTE_USER",
)


class InvoiceForm(forms.ModelForm):
    class Meta:
        model = Invoice
        fields = ["customer", "amount"]


@require_safe
def index(request):
    return render(request, "invoices/index.html")


def invoices(request):
    """Lists the invoices; a POST adds one. Who may do which is the gateway's business."""
    if request.method not in ("GET", "HEAD", "POST"):
        return HttpResponseNotAllowed(["GET", "HEAD", "POST"])
    form = InvoiceForm(request.POST or None)
    if request.method == "POST" and form.is_valid():
        form.instance.created_by = request.user.get_username()
        form.save()
        return redirect("/invoices/")
    status = 400 if request.method == "POST" else 200
    return render(request, "invoices/list.html", {"form": form, "invoices": Invoice.objects.all()}, status=status)


@require_safe
def whoami(request):
    keys = sorted(key for key in request.META if key.startswith(("HTTP_", "REMOTE_USER")))
    return JsonResponse(
        {
            "application": "django",
            "user": request.user.get_username() or None,
            "is_staff": request.user.is_staff,
            "is_superuser": request.user.is_superuser,
            "identity_headers": {key: request.META[key] for key in keys if key.startswith(IDENTITY_KEYS)},
            "header_names": keys,
            "cookie_names": sorted(request.COOKIES),
            "remote_address": request.META.get("REMOTE_ADDR"),
            "scheme": request.scheme,
            "host": request.get_host(),
            "method": request.method,
            "path": request.path,
        }
    )
