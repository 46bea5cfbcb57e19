import HTTPModel

/// Writes instants as RFC 3339, such as `2026-11-21T08:15:30.123Z`; the part up to the second is kept while it lasts.
struct LogClock {
    private var seconds = Int64.min
    private var text: [UInt8] = []

    mutating func append(_ milliseconds: Int64, to buffer: inout ByteBuffer) {
        let second = milliseconds >= 0 ? milliseconds / 1000 : (milliseconds - 999) / 1000
        if second != seconds {
            seconds = second
            text = Array(LogClock.text(second).utf8)
        }
        let fraction = UInt64(milliseconds - second * 1000)
        buffer.append(text)
        buffer.append(UInt8(ascii: "."))
        if fraction < 100 { buffer.append(UInt8(ascii: "0")) }
        if fraction < 10 { buffer.append(UInt8(ascii: "0")) }
        buffer.append(decimal: fraction)
        buffer.append(UInt8(ascii: "Z"))
    }

    /// Civil date and time of a count of seconds since the epoch (proleptic Gregorian calendar).
    static func text(_ seconds: Int64) -> String {
        let days = seconds >= 0 ? seconds / 86_400 : (seconds - 86_399) / 86_400
        let rest = seconds - days * 86_400
        // Years begin in March here, so that leap days come last.
        let shifted = days + 719_468
        let era = (shifted >= 0 ? shifted : shifted - 146_096) / 146_097
        let dayOfEra = shifted - era * 146_097
        let yearOfEra = (dayOfEra - dayOfEra / 1460 + dayOfEra / 36_524 - dayOfEra / 146_096) / 365
        let dayOfYear = dayOfEra - (365 * yearOfEra + yearOfEra / 4 - yearOfEra / 100)
        let monthIndex = (5 * dayOfYear + 2) / 153
        let day = dayOfYear - (153 * monthIndex + 2) / 5 + 1
        let month = monthIndex < 10 ? monthIndex + 3 : monthIndex - 9
        let year = yearOfEra + era * 400 + (month <= 2 ? 1 : 0)
        func two(_ number: Int64) -> String { number < 10 ? "0\(number)" : "\(number)" }
        return "\(year)-\(two(month))-\(two(day))T\(two(rest / 3600)):\(two(rest / 60 % 60)):\(two(rest % 60))"
    }
}
