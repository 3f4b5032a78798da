from django.contrib import admin

from photos.forms import PhotoForm
from photos.models import Photo
from presign.django import UploadAdmin


@admin.register(Photo)
class PhotoAdmin(UploadAdmin, admin.ModelAdmin):
    form = PhotoForm
