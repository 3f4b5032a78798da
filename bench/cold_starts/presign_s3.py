"""presign's first ticket for S3, with the credentials and the region of the environment."""

from presign import Presigner, UploadPolicy, UploadRequest
from presign.s3 import S3Backend

presigner = Presigner(
    backend=S3Backend(bucket="example-bucket"),
    policy=UploadPolicy(content_types={"image/png"}, max_bytes=10_000_000, prefix="public/"),
    secret="a secret of at least sixteen bytes",
)
assert presigner.issue(UploadRequest(content_type="image/png", size=48_213)).fields["policy"]
