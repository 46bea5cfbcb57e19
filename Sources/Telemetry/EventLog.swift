internal import Glibc
public import Logging
internal import Synchronization

/// The program's own events, one JSON object for each line on standard error.
public enum EventLog {
    /// A logger whose lowest level is `level` (debug, info, notice, warning, error).
    public static func logger(label: String, level: String) -> Logger {
        var logger = Logger(label: label) { _ in JSONLogHandler() }
        logger.logLevel = Logger.Level(rawValue: level) ?? .info
        return logger
    }
}

/// Writes an event as JSON: time, level, event, then its fields in the order of their names.
struct JSONLogHandler: LogHandler {
    var metadata: Logger.Metadata = [:]
    var logLevel = Logger.Level.info

    subscript(metadataKey key: String) -> Logger.Metadata.Value? {
        get { metadata[key] }
        set { metadata[key] = newValue }
    }

    func log(event: LogEvent) {
        var line = "{\"time\":\"\(JSONLogHandler.timestamp())\",\"level\":\"\(event.level)\""
        line += ",\"event\":\(JSONLogHandler.quoted("\(event.message)"))"
        let fields = metadata.merging(event.metadata ?? [:]) { $1 }
        for (name, value) in fields.sorted(by: { $0.key < $1.key }) {
            line += ",\(JSONLogHandler.quoted(name)):\(JSONLogHandler.quoted("\(value)"))"
        }
        line += "}\n"
        JSONLogHandler.output.write(&line)
    }

    private static let output = EventOutput(descriptor: STDERR_FILENO)

    /// RFC 3339, UTC, whole seconds.
    private static func timestamp() -> String {
        var now = time(nil)
        var parts = unsafe tm()
        _ = unsafe gmtime_r(&now, &parts)
        func two(_ number: CInt) -> String { number < 10 ? "0\(number)" : "\(number)" }
        let date = unsafe "\(parts.tm_year + 1900)-\(two(parts.tm_mon + 1))-\(two(parts.tm_mday))"
        return unsafe "\(date)T\(two(parts.tm_hour)):\(two(parts.tm_min)):\(two(parts.tm_sec))Z"
    }

    /// A JSON string (RFC 8259 section 7); controls are escaped.
    static func quoted(_ text: String) -> String {
        var quoted = "\""
        for scalar in text.unicodeScalars {
            switch scalar {
            case "\"": quoted += "\\\""
            case "\\": quoted += "\\\\"
            case "\n": quoted += "\\n"
            default:
                if scalar.value < 0x20 || (0x7F...0x9F).contains(scalar.value) {
                    let digits = String(scalar.value, radix: 16)
                    quoted += "\\u" + String(repeating: "0", count: 4 - digits.count) + digits
                } else {
                    quoted.unicodeScalars.append(scalar)
                }
            }
        }
        return quoted + "\""
    }
}

/// Writes lines to a descriptor that may be a pipe which nobody reads: what it does not take soon is lost, because the
/// program has better to do than to wait.
final class EventOutput: Sendable {
    private let descriptor: CInt
    /// The last line was not taken: the next one waits no more, so that many lines do not add up to a long wait.
    private let isStuck = Atomic<Bool>(false)

    init(descriptor: CInt) { self.descriptor = descriptor }

    func write(_ line: inout String) {
        let patience = isStuck.load(ordering: .relaxed) ? 0 : EventOutput.patience
        let isTaken = line.withUTF8 { utf8 in
            var written = 0
            while written < utf8.count {
                var request = pollfd(fd: descriptor, events: Int16(POLLOUT), revents: 0)
                guard unsafe poll(&request, 1, patience) == 1 else { return false }
                // Within the string's bytes, which live for the call. A pipe that polls as writable takes this many.
                let count = unsafe Glibc.write(
                    descriptor, utf8.baseAddress.map { unsafe $0 + written },
                    min(utf8.count - written, EventOutput.pieceBytes))
                guard count > 0 else { return false }
                written += count
            }
            return true
        }
        isStuck.store(!isTaken, ordering: .relaxed)
    }

    /// Milliseconds.
    private static let patience: CInt = 100
    /// PIPE_BUF on Linux.
    private static let pieceBytes = 4096
}
