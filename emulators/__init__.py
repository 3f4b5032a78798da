"""Storage servers on this machine, for the demo, the tests and the benchmarks.

SeaweedFS and Azurite are programs of others; the reference servers of S3, Azure and Google Cloud judge requests by the
providers' documentation, and share no code with presign.
"""
