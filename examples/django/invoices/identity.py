"""Whom the gateway named, as Django sees it."""

from django.contrib.auth.middleware import RemoteUserMiddleware

ADMIN_ROLE = "admin"


class GatewayUserMiddleware(RemoteUserMiddleware):
    """Signs in the user named by ``X-Auth-User``, and out when no name comes.

    Django creates a user it has not met. The role ``admin`` opens the admin site for as long as the gateway
    says so: the flags follow ``X-Auth-Roles`` at each request, not only at the first.
    """

    header = "HTTP_X_AUTH_USER"

    def process_request(self, request):
        super().process_request(request)
        if not request.META.get(self.header) or not request.user.is_authenticated:
            return
        is_admin = ADMIN_ROLE in request.META.get("HTTP_X_AUTH_ROLES", "").split(",")
        user = request.user
        if (user.is_staff, user.is_superuser) != (is_admin, is_admin):
            user.is_staff = user.is_superuser = is_admin
            user.save(update_fields=["is_staff", "is_superuser"])
