import HTTPModel

/// Writes instants as RFC 3339, such as `2026-11-21T08:15:30.123Z`; the part up to the second is kept while it lasts.
struct LogClock {
    private var seconds = Int64.min
    private var text: [UInt8] = []

    mutating func append(_ milliseconds: Int64, to buffer: inout ByteBuffer) {
        let second = milliseconds >= 0 ? milliseconds / 1000 : (milliseconds - 999) / 1000
        if second != seconds {
            seconds = second
            text = Array(CivilTime(epochSeconds: second).rfc3339.utf8)
        }
        let fraction = UInt64(milliseconds - second * 1000)
        buffer.append(text)
        buffer.append(UInt8(ascii: "."))
        if fraction < 100 { buffer.append(UInt8(ascii: "0")) }
        if fraction < 10 { buffer.append(UInt8(ascii: "0")) }
        buffer.append(decimal: fraction)
        buffer.append(UInt8(ascii: "Z"))
    }
}
