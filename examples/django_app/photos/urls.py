from django.contrib import admin
from django.contrib.auth.decorators import login_required
from django.http import HttpResponse
from django.shortcuts import render
from django.urls import include, path

from photos.forms import PhotoForm
from presign.django import bind_request


@login_required(login_url="admin:login")
def add_photo(request):
    form = bind_request(PhotoForm(request.POST or None), request)
    if form.is_valid():
        return HttpResponse(f"saved as {form.save().key}", content_type="text/plain")
    return render(request, "photos/add.html", {"form": form})


urlpatterns = [
    path("", add_photo),
    path("admin/", admin.site.urls),
    path("uploads/", include("presign.django.urls")),
]
