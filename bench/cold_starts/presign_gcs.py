"""presign's first ticket for Google, with a service account's key, or an HMAC key of the environment."""

import sys

from presign import Presigner, UploadPolicy, UploadRequest
from presign.gcs import GCSBackend

presigner = Presigner(
    backend=GCSBackend(bucket="example-bucket", credentials=sys.argv[1] if len(sys.argv) > 1 else None),
    policy=UploadPolicy(content_types={"image/png"}, max_bytes=10_000_000, prefix="public/"),
    secret="a secret of at least sixteen bytes",
)
assert presigner.issue(UploadRequest(content_type="image/png", size=48_213)).fields["policy"]
