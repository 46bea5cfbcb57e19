internal import HTTPModel

/// ISO 8601 in UTC with seconds, such as `2026-11-21T08:30:00Z`, of a time in seconds since the epoch.
func utcTime(_ seconds: Int64) -> String { CivilTime(epochSeconds: seconds).rfc3339 + "Z" }
