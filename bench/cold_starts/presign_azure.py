"""presign's first ticket for Azure, with the connection string of the environment."""

from presign import Presigner, UploadPolicy, UploadRequest
from presign.azure import AzureBackend

presigner = Presigner(
    backend=AzureBackend(container="uploads", pending_container="pending"),
    policy=UploadPolicy(content_types={"image/png"}, max_bytes=10_000_000, prefix=""),
    secret="a secret of at least sixteen bytes",
)
assert "sig=" in presigner.issue(UploadRequest(content_type="image/png", size=48_213)).url
