from django.db import models


class Photo(models.Model):
    title = models.CharField(max_length=100)
    key = models.CharField(max_length=300, unique=True, editable=False)
