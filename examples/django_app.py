"""Django in one file: users who are signed in send photos straight to the bucket, from a form and from the admin.

It needs SECRET_KEY, DATABASE (a file), PRESIGN_BUCKET (``s3://my-bucket/photos/?region=eu-central-1``) and the bucket's
credentials in the environment. Run its commands ``migrate --run-syncdb``, ``createsuperuser`` and ``runserver``.
"""

import os
import sys

from django.apps import AppConfig
from django.conf import settings
from django.core import management, wsgi

APPS = ["admin", "auth", "contenttypes", "sessions", "messages", "staticfiles"]
MIDDLEWARE = ["contrib.sessions.middleware.Session", "middleware.csrf.CsrfView"]
MIDDLEWARE += ["contrib.auth.middleware.Authentication", "contrib.messages.middleware.Message"]
CONTEXT = ["template.context_processors.request", "contrib.auth.context_processors.auth"]
CONTEXT += ["contrib.messages.context_processors.messages"]
TEMPLATES = {"BACKEND": "django.template.backends.django.DjangoTemplates", "APP_DIRS": True}
PHOTOS = {"backend": os.environ["PRESIGN_BUCKET"], "content_types": ["image/png"], "max_bytes": 10_000_000}
PAGE = "<title>Photos</title>{{ form.media }}<form method=post>{% csrf_token %}{{ form }}<button>Save</button></form>"


class PhotosConfig(AppConfig):
    name, label, path, default_auto_field = __name__, "photos", ".", "django.db.models.BigAutoField"
    models_module = property(lambda self: sys.modules[self.name], lambda self, _: None)  # the model is in this file


settings.configure(
    DEBUG=True,
    SECRET_KEY=os.environ["SECRET_KEY"],
    ROOT_URLCONF=__name__,
    STATIC_URL="static/",
    DATABASES={"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": os.environ["DATABASE"]}},
    INSTALLED_APPS=[*(f"django.contrib.{app}" for app in APPS), "presign.django", f"{__name__}.PhotosConfig"],
    MIDDLEWARE=[f"django.{name}Middleware" for name in MIDDLEWARE],
    TEMPLATES=[TEMPLATES | {"OPTIONS": {"context_processors": [f"django.{name}" for name in CONTEXT]}}],
    PRESIGN={"photos": PHOTOS | {"authorize": "presign.django.authorization.signed_in"}},
)
application = wsgi.get_wsgi_application()

from django import db, forms, http, template, urls
from django.contrib import admin
from django.contrib.auth.decorators import login_required

from presign.django import UploadAdmin, UploadField, bind_request


class Photo(db.models.Model):
    title = db.models.CharField(max_length=100)
    key = db.models.CharField(max_length=300, unique=True, editable=False)


class PhotoForm(forms.ModelForm):
    photo = UploadField("photos")
    Meta = type("Meta", (), {"model": Photo, "fields": ["title"]})

    def save(self, commit=True):
        if self.cleaned_data["photo"]:
            self.instance.key = self.cleaned_data["photo"].key
        return super().save(commit)


@admin.register(Photo)
class PhotoAdmin(UploadAdmin, admin.ModelAdmin):
    form = PhotoForm


@login_required(login_url="admin:login")
def add_photo(request):
    form = bind_request(PhotoForm(request.POST or None), request)
    if form.is_valid():
        return http.HttpResponse(f"saved as {form.save().key}", content_type="text/plain")
    return http.HttpResponse(template.Template(PAGE).render(template.RequestContext(request, {"form": form})))


urlpatterns = [urls.path("uploads/", urls.include("presign.django.urls")), urls.path("admin/", admin.site.urls)]
urlpatterns += [urls.path("", add_photo)]
if __name__ == "__main__":
    management.execute_from_command_line(sys.argv)
