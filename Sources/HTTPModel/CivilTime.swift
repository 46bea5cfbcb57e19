/// Date and time of day in UTC, in the proleptic Gregorian calendar.
public struct CivilTime: Equatable, Sendable {
    /// The year, zero and negative ones included.
    public let year: Int64
    /// 1 to 12, and 1 to 31.
    public let month, day: Int64
    /// 0 to 23, 0 to 59 and 0 to 59; leap seconds do not occur in seconds since the epoch.
    public let hour, minute, second: Int64
    /// 0 is Sunday.
    public let weekday: Int64

    /// Of a count of seconds since the epoch.
    public init(epochSeconds: Int64) {
        let days = epochSeconds >= 0 ? epochSeconds / 86_400 : (epochSeconds - 86_399) / 86_400
        let rest = epochSeconds - days * 86_400
        // Days are counted from 0000-03-01, so that the leap day is the last of its year; eras have 400 years.
        let shifted = days + 719_468
        let era = (shifted >= 0 ? shifted : shifted - 146_096) / 146_097
        let dayOfEra = shifted - era * 146_097
        let yearOfEra = (dayOfEra - dayOfEra / 1460 + dayOfEra / 36_524 - dayOfEra / 146_096) / 365
        let dayOfYear = dayOfEra - (365 * yearOfEra + yearOfEra / 4 - yearOfEra / 100)
        let monthIndex = (5 * dayOfYear + 2) / 153
        day = dayOfYear - (153 * monthIndex + 2) / 5 + 1
        month = monthIndex < 10 ? monthIndex + 3 : monthIndex - 9
        year = yearOfEra + era * 400 + (month <= 2 ? 1 : 0)
        hour = rest / 3600
        minute = rest / 60 % 60
        second = rest % 60
        weekday = ((days % 7) + 11) % 7
    }

    /// RFC 3339 without its offset, such as `2026-11-21T08:30:00`.
    public var rfc3339: String {
        "\(Self.padded(year, 4))-\(Self.padded(month, 2))-\(Self.padded(day, 2))T\(timeOfDay)"
    }

    /// The format of RFC 9110 section 5.6.7, such as `Sun, 06 Nov 1994 08:49:37 GMT`.
    public var httpDate: String {
        let weekdays = ["Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat"]
        let months = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"]
        let date = "\(Self.padded(day, 2)) \(months[Int(month) - 1]) \(Self.padded(year, 4))"
        return "\(weekdays[Int(weekday)]), \(date) \(timeOfDay) GMT"
    }

    private var timeOfDay: String {
        "\(Self.padded(hour, 2)):\(Self.padded(minute, 2)):\(Self.padded(second, 2))"
    }

    private static func padded(_ number: Int64, _ width: Int) -> String {
        let digits = String(number)
        return String(repeating: "0", count: max(0, width - digits.utf8.count)) + digits
    }
}
