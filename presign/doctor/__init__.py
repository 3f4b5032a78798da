"""Find out, with real requests, whether a storage keeps what presign's tickets promise."""

from presign.doctor.catalogue import CATALOGUE, Explanation
from presign.doctor.examination import check_health, examine, examine_presigner
from presign.doctor.report import Finding, Report, Severity

__all__ = ["CATALOGUE", "Explanation", "Finding", "Report", "Severity", "check_health", "examine", "examine_presigner"]
