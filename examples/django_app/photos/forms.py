from django import forms

from photos.models import Photo
from presign.django import UploadField


class PhotoForm(forms.ModelForm):
    photo = UploadField("photos")

    class Meta:
        model = Photo
        fields = ["title"]

    def save(self, commit=True):
        if self.cleaned_data["photo"]:
            self.instance.key = self.cleaned_data["photo"].key
        return super().save(commit)
