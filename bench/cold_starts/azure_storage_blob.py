"""The first shared access signature of azure-storage-blob, with the connection string of the environment."""

import os
from datetime import datetime, timedelta, timezone

from azure.storage.blob import BlobSasPermissions, BlobServiceClient, generate_blob_sas

service = BlobServiceClient.from_connection_string(os.environ["AZURE_STORAGE_CONNECTION_STRING"])
blob = service.get_blob_client("pending", "cat.png")
signature = generate_blob_sas(
    blob.account_name or "",
    blob.container_name,
    blob.blob_name,
    account_key=blob.credential.account_key,
    permission=BlobSasPermissions(create=True),
    expiry=datetime.now(timezone.utc) + timedelta(minutes=15),
)
assert "sig=" in signature
