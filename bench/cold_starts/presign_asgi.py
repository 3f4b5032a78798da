"""An ASGI application with presign's endpoints for S3, ready for its first request."""

from presign import Presigner, UploadPolicy
from presign.asgi import create_app
from presign.s3 import S3Backend

presigner = Presigner(
    backend=S3Backend(bucket="example-bucket"),
    policy=UploadPolicy(content_types={"image/png"}, max_bytes=10_000_000, prefix="public/"),
    secret="a secret of at least sixteen bytes",
)
app = create_app(presigner, authorize=lambda request: "user-7")
