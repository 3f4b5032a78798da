"""Components for Pulumi programs: places that browsers upload to, and the identities that sign, verify and publish.

``presign_infra.aws``, ``presign_infra.azure`` and ``presign_infra.gcp`` have the components of one cloud each, and need
its SDK. The modules beside them need no SDK of a cloud.
"""
