"""Components for Pulumi programs: places that browsers upload to, and the identities that sign, verify and publish.

``presign_infra.aws`` has the components of one cloud, and needs its SDK. The modules beside it need no SDK of a cloud.
"""
