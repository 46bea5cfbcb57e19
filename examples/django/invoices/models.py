"""What the application keeps."""

from django.db import models


class Invoice(models.Model):
    customer = models.CharField(max_length=100)
    amount = models.DecimalField(max_digits=10, decimal_places=2)
    created_by = models.CharField(max_length=150)

    class Meta:
        ordering = ["id"]

    def __str__(self):
        return f"{self.customer}: {self.amount}"
