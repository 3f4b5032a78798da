"""Every finding that an examination can make: its stable code, how bad it is, what it means and what to do."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from presign.doctor.report import Severity

_FAILURE, _WARNING = Severity.FAILURE, Severity.WARNING
_LEARN = (
    "Give the backend what was learned (presign doctor --write FILE, and learned=FILE), so that tickets promise only "
    "what this storage keeps. Update the storage if a newer version keeps the rule."
)


@dataclass(frozen=True, kw_only=True)
class Explanation:
    """What a finding means if the storage does not pass, and what to do; ``severity`` is how bad it then is."""

    severity: Severity
    meaning: str
    remedy: str


def _failure(meaning: str, remedy: str) -> Explanation:
    return Explanation(severity=_FAILURE, meaning=meaning, remedy=remedy)


def _warning(meaning: str, remedy: str) -> Explanation:
    return Explanation(severity=_WARNING, meaning=meaning, remedy=remedy)


CATALOGUE: Mapping[str, Explanation] = MappingProxyType(
    {
        # Whether the settings lead to a storage at all.
        "settings": _failure(
            "The backend's settings are wrong, so no upload can succeed.", "Correct the setting that the message names."
        ),
        "missing-bucket": _failure(
            "The bucket or container does not exist, so no upload can succeed.", "Create it, or correct its name."
        ),
        "region": _failure(
            "Tickets are signed for another region than the bucket's, and the storage refuses them or sends browsers "
            "elsewhere, which ends the preflight request.",
            "Set the region that the message names.",
        ),
        "credentials": _failure(
            "The storage refuses the credentials, so it refuses every ticket that they sign.",
            "Correct the credentials that the message names.",
        ),
        "unreachable": _failure(
            "The storage does not answer, so nothing else can be found out.",
            "Check the endpoint, the network and the certificate.",
        ),
        "clock": _failure(
            "A ticket is valid from this machine's time on. The storage judges it by its own clock, so the ticket can "
            "be over, or not valid yet, when the browser uses it.",
            "Synchronise this machine's clock, for example with chrony or systemd-timesyncd.",
        ),
        "tls": _warning(
            "Whoever reads an upload on the way can read its ticket and its file.",
            "Let the storage refuse requests without TLS.",
        ),
        # What the credentials may do.
        "delete": _failure(
            "Completion deletes uploads that break a rule, and pending uploads after their publication. Here it "
            "cannot. The doctor sends no uploads that it could not delete.",
            "Give the identity that verifies the right to delete pending objects.",
        ),
        "upload": _failure(
            "The storage refuses an upload that is exactly what its ticket allows, so no browser can upload this way.",
            "Give the identity that signs the right to store objects under the prefix of uploads. If it has it, look "
            "for a bucket policy, a network rule or a quota that denies the upload.",
        ),
        "guards": _failure(
            "The tickets have signed headers, the guards, that keep others from adding headers of their own. The "
            "storage refuses them: it may check s3:PutObjectAcl for x-amz-acl, or not know one of them. So no browser "
            "can upload with a PUT.",
            "Set sign_guards=false, and run the doctor again: it then finds whether the storage obeys headers that "
            "nobody signed. Or give the identity that signs the right s3:PutObjectAcl.",
        ),
        "redirect": _failure(
            "The storage sends the upload to another address. Browsers do not follow that after a preflight request.",
            "Set the region and the endpoint of the bucket itself.",
        ),
        "post": _failure(
            "This storage has no POST forms, and these settings use them.",
            "Set upload_method=put. Requests must then declare their size, so that the storage can enforce it.",
        ),
        "kms": _failure(
            "The bucket encrypts with a KMS key that an identity may not use, so the storage refuses what it does.",
            "Allow the key: kms:GenerateDataKey for the identity that signs, also kms:Decrypt if it signs parts, and "
            "both for the one that verifies and publishes.",
        ),
        "read": _failure(
            "Completion must read an upload to verify it. Here it finds nothing, and no upload can be completed.",
            "Give the identity that verifies the right to read pending objects.",
        ),
        "publish": _failure(
            "Completion copies a verified upload to its final key. Here it cannot, and no upload can be completed.",
            "Give the identity that verifies the right to write under the final prefix, and to read there. A SAS "
            "expiration policy of an Azure account must allow at least 30 minutes.",
        ),
        "headers-kept": _warning(
            "The storage did not keep a header of the ticket. Completion writes it when it publishes the upload. "
            "Without a pending prefix, the object would never get it.",
            "Keep the pending prefix.",
        ),
        "listing": Explanation(
            severity=Severity.UNKNOWN,
            meaning="The sweep lists pending uploads to find those that nobody completed. Here it cannot.",
            remedy="Give the identity that verifies the right to list, or delete old pending objects with a lifecycle "
            "rule.",
        ),
        "parts": _failure(
            "Files that come in parts cannot be uploaded, or not completed.",
            "Give the identity that signs the rights to begin, list, commit and abort uploads in parts.",
        ),
        "parts-expiry": _warning(
            "Parts of uploads that nobody finishes stay, invisible in listings, and cost money.",
            "Add a lifecycle rule that aborts incomplete uploads after 8 days. Keep the other rules of the bucket: "
            "most tools replace all of them together.",
        ),
        "pending-expiry": _warning(
            "No rule of the storage deletes pending uploads that nobody completes. They stay, and cost money, unless "
            "presign sweep runs regularly.",
            "Add a lifecycle rule that deletes what is under the pending prefix after 9 days, or run presign sweep. "
            "Keep the other rules of the bucket: most tools replace all of them together.",
        ),
        "pending-expires-early": _warning(
            "A rule of the storage deletes pending uploads too early. An upload can be completed for a day after its "
            "ticket has expired, and a file in parts for a week after its ticket.",
            "Let the rule wait for 9 days, or for 2 if no file comes in parts. Keep the other rules of the bucket: "
            "most tools replace all of them together.",
        ),
        "versions": _warning(
            "The bucket keeps versions, and the identity that verifies may not delete them. Files that completion "
            "refused stay as earlier versions, and so did the doctor's own.",
            "Allow the identity to delete versions of pending objects, or let earlier versions expire.",
        ),
        "signature-age": _failure(
            "The storage refuses tickets that are older than it allows, although they have not expired. Uploads fail "
            "for users who take longer.",
            "Choose a shorter expires_in, or raise the limit (on Amazon S3, s3:signatureAge in a policy).",
        ),
        "signature-lifetime": _failure(
            "The storage refuses tickets that are valid for longer than it allows, although they are new. No upload "
            "with such a ticket succeeds.",
            "Choose shorter lifetimes (expires_in and max_expires_in), or raise the limit. On Azure, it is the SAS "
            "expiration policy of the account. It must allow 15 minutes more than the ticket, because a signature "
            "begins that much earlier, and at least 30 minutes, because completion needs that.",
        ),
        # What a page in a browser may do.
        "cors-preflight": _failure(
            "Browsers ask the storage before an upload, and it does not allow the page's origin. No upload starts.",
            "Allow the origin in the storage's CORS rules.",
        ),
        "cors-headers": _failure(
            "The storage allows the page's origin, but not the headers that tickets have. Browsers do not send the "
            "upload.",
            "Allow these headers in the storage's CORS rules.",
        ),
        "cors-checksum": _warning(
            "Browsers do not send an upload with the header that has its SHA-256. So no upload works for a policy that "
            "requires one.",
            "Allow the header in the storage's CORS rules, if a policy has require_sha256.",
        ),
        "cors-answer": _failure(
            "The storage's answer to an upload does not name the page's origin, so the page cannot read it. Uploads "
            "look like network failures.",
            "Allow the origin and the method in the storage's CORS rules.",
        ),
        "cors-exposed": _warning(
            "The page cannot read a header of the answer. Uploaders that need it, such as Uppy for files in parts, "
            "fail.",
            "Expose the header in the storage's CORS rules.",
        ),
        "cors-any-origin": _warning(
            "Every page in the web may use a ticket, once it has one.", "Allow only the origins of your pages."
        ),
        # What the storage refuses.
        "rule-size": _warning("The storage accepts a file of another size than its ticket says.", _LEARN),
        "rule-type": _warning("The storage accepts a file of another type than its ticket says.", _LEARN),
        "rule-checksum": _warning("The storage accepts other bytes than those with the ticket's SHA-256.", _LEARN),
        "rule-headers": _warning("The storage accepts headers that the ticket does not have.", _LEARN),
        "rule-create-only": _warning(
            "The storage lets a second upload with the same ticket replace the first one.", _LEARN
        ),
        "key-bound": _failure(
            "With a ticket for one key, a client can write another one.",
            "Do not use this storage for uploads by browsers.",
        ),
        "signature-checked": _failure(
            "The storage does not check signatures, so anybody can write.",
            "Do not use this storage for uploads by browsers.",
        ),
        "expiry-checked": _failure(
            "Tickets never end: whoever finds an old one can upload with it.",
            "Do not use this storage for uploads by browsers.",
        ),
        "unsigned-copy": _failure(
            "With a header that nobody signed, a client copies any object that the signer may read into its own "
            "upload.",
            "Leave sign_guards at its default, deny copies to the identity that signs, or sign and verify with two "
            "identities.",
        ),
        "unsigned-acl": _failure(
            "With a header that nobody signed, a client makes its upload public before it is verified.",
            "Leave sign_guards at its default, disable access control lists for the bucket, or use upload_method=post.",
        ),
        "unsigned-attributes": _warning(
            "With a header that nobody signed, a client gives its upload tags, a storage class or a key of its own. "
            "Completion refuses such uploads.",
            "Use upload_method=post, or deny these headers to the identity that signs.",
        ),
        # Who else may read and write.
        "pending-private": _failure(
            "Everybody can read an upload before it is verified.", "Make the pending prefix or container private."
        ),
        "pending-unlisted": _failure(
            "Everybody can list the pending uploads, and learn their keys.", "Allow no anonymous listing."
        ),
        "public-read": _failure(
            "Published objects are not as readable as the application expects.",
            "Change the bucket's policy, or the policy's public_read.",
        ),
        "public-unlisted": _warning(
            "Everybody can list the published objects, also those whose addresses nobody was given.",
            "Allow anonymous reads, and no anonymous listing.",
        ),
        "signer-writes-elsewhere": _warning(
            "The credentials that sign may store objects outside of the prefixes for uploads. Whoever gets them, or "
            "finds a way around a ticket, may write there.",
            "Limit the identity that signs to the prefix of uploads.",
        ),
        "signer-writes-final": _warning(
            "The credentials that sign may write under the final prefix, past every verification.",
            "Limit the identity that signs to the pending prefix; another identity verifies and publishes.",
        ),
        "signer-deletes-elsewhere": _warning(
            "The credentials may delete objects outside of the prefixes for uploads.",
            "Limit the identity to the prefixes for uploads.",
        ),
        "signer-reads": _warning(
            "The credentials that sign may read uploads, although another identity verifies them. A ticket can never "
            "do more than its signer, so a signer that reads nothing is safer.",
            "Take the right to read from the identity that signs.",
        ),
        "signer-deletes": _warning(
            "The credentials that sign may delete uploads, although another identity verifies them.",
            "Take the right to delete from the identity that signs.",
        ),
        "left-over": _failure("The doctor could not delete what it stored.", "Delete these objects by hand."),
    }
)
"""What each finding means if the storage does not pass, by code."""
