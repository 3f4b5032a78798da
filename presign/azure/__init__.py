"""Azure Blob Storage: block blobs uploaded with shared access signatures."""

from presign.azure.backend import AzureBackend, open_azure

__all__ = ["AzureBackend", "open_azure"]
