"""The component for the Google Cloud Storage bucket that browsers upload to."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pulumi
from pulumi_gcp import projects, storage

from presign_infra.gcp import rights
from presign_infra.prefixes import require_prefix, require_separate_prefixes

SECONDS_PER_DAY = 86_400


class UploadBucket(pulumi.ComponentResource):
    """A bucket for uploads. Everybody may read what is published under one prefix; nothing else is public.

    - ``allowed_origins``: the origins of the pages that upload, such as ``https://app.example.com``, without a path.
    - ``location``: a region such as ``europe-west1``, or ``EU``, ``US`` or ``ASIA``.
    - ``public_prefix``: where verified uploads are published, with a slash at the end.
    - ``pending_prefix``: where uploads wait, unreadable for the public, until they are verified. With None, uploads go
      straight to ``public_prefix``, and everybody may read them before they are verified.
    - ``expire_pending_after_days``: Google deletes an upload that is still pending after this many days.
    - ``public_read``: everybody may read what is published, but not list it. With False, Google prevents public access
      to the whole bucket.
    - ``abort_uploads_after_days``: Google deletes the parts of an unfinished upload after this many days.
    - ``metadata_names``: the names in the ``metadata`` of the application's policies, for CORS.
    - ``cors_max_age_seconds``: how long a browser may remember the answer to a preflight request.
    - ``soft_delete_days``: how long Google keeps what was deleted, uploads that were refused included: 7 to 90, or 0.
    - ``bucket_name``: by default, Pulumi chooses a unique name.
    - ``force_destroy``: deleting the bucket also deletes its objects.
    - ``protect``: the engine refuses to delete the bucket, its folders and the right to read what is public.

    Raises ValueError for a prefix, two prefixes, origins, names or numbers that cannot work.
    """

    bucket: pulumi.Output[str]
    """The bucket's name."""
    public_folder: pulumi.Output[str]
    """The managed folder for published objects: ``public_prefix``, known as soon as the folder exists."""
    pending_folder: pulumi.Output[str] | None
    """The managed folder for pending objects, or None if uploads go straight to ``public_folder``."""

    def __init__(
        self,
        name: str,
        *,
        allowed_origins: Sequence[str],
        location: str,
        public_prefix: str = "public/",
        pending_prefix: str | None = "pending/",
        expire_pending_after_days: int = 9,
        public_read: bool = True,
        abort_uploads_after_days: int = 7,
        metadata_names: Sequence[str] = (),
        cors_max_age_seconds: int = 3600,
        soft_delete_days: int = 7,
        bucket_name: str | None = None,
        force_destroy: bool = False,
        protect: bool = True,
        labels: Mapping[str, str] | None = None,
        opts: pulumi.ResourceOptions | None = None,
    ) -> None:
        require_prefix(public_prefix, name="public_prefix")
        if pending_prefix is not None:
            require_separate_prefixes(pending_prefix, public_prefix)
        if soft_delete_days != 0 and not 7 <= soft_delete_days <= 90:
            raise ValueError(f"soft_delete_days must be 0, or from 7 to 90; it is {soft_delete_days}")
        cors = rights.cors_rules(allowed_origins, metadata_names=metadata_names, max_age_seconds=cors_max_age_seconds)
        lifecycle = rights.lifecycle_rules(
            abort_uploads_after_days,
            pending_prefix=pending_prefix,
            expire_pending_after_days=expire_pending_after_days,
        )
        super().__init__("presign:gcp:UploadBucket", name, {}, opts)
        options = pulumi.ResourceOptions(parent=self, protect=protect)

        bucket = storage.Bucket(
            f"{name}-bucket",
            name=bucket_name,
            location=location,
            # Without it, the bucket has access control lists, and no managed folders.
            uniform_bucket_level_access=True,
            public_access_prevention="inherited" if public_read else "enforced",
            cors=[storage.BucketCorArgs(**rule) for rule in cors],
            lifecycle_rules=[
                storage.BucketLifecycleRuleArgs(
                    action=storage.BucketLifecycleRuleActionArgs(type=rule["action"]),
                    condition=storage.BucketLifecycleRuleConditionArgs(
                        age=rule["age"], matches_prefixes=rule["matches_prefixes"]
                    ),
                )
                for rule in lifecycle
            ],
            soft_delete_policy=storage.BucketSoftDeletePolicyArgs(
                retention_duration_seconds=soft_delete_days * SECONDS_PER_DAY
            ),
            force_destroy=force_destroy,
            labels=labels,
            opts=options,
        )

        def folder(kind: str, prefix: str) -> storage.ManagedFolder:
            return storage.ManagedFolder(
                f"{name}-{kind}-folder",
                bucket=bucket.name,
                name=prefix,
                # Without it, a folder with objects could not be replaced. The objects stay, under the same names.
                force_destroy=True,
                opts=options,
            )

        public_folder = folder("public", public_prefix)
        pending_folder = None if pending_prefix is None else folder("pending", pending_prefix)
        if public_read:
            # Google's role for viewers would let everybody list the folder, too.
            reader = projects.IAMCustomRole(
                f"{name}-reader-role",
                role_id=bucket.name.apply(lambda bucket_name: rights.role_id(bucket_name, f"{name}_reader")),
                title=f"presign: {rights.reader_role().kind}",
                permissions=list(rights.reader_role().permissions),
                opts=options,
            )
            storage.ManagedFolderIamMember(
                f"{name}-public-read",
                bucket=bucket.name,
                managed_folder=public_folder.name,
                role=reader.name,
                member="allUsers",
                opts=options,
            )

        self.bucket = bucket.name
        self.public_folder = public_folder.name
        self.pending_folder = None if pending_folder is None else pending_folder.name
        self.register_outputs({"bucket": self.bucket})
