internal import HTTPModel

/// What an answer's fields say of buffering.
enum BufferingFields {
    /// Whether the answer may wait here: events are for the client now (HTML, section 9.2), and so is what the application
    /// says so of, in a field that other proxies know too. That field ends here.
    static func obey(_ head: inout ResponseHead, _ bytes: Span<UInt8>) -> Bool {
        var mayWait = true
        for index in 0..<head.fields.count {
            let value = head.fields[index].value.range
            switch head.fields[index].known {
            case .xAccelBuffering:
                head.fields[index].isDropped = true
                if value.count == 2, begins(bytes, value, with: "no") { mayWait = false }
            case .contentType: if begins(bytes, value, with: "text/event-stream") { mayWait = false }
            default: continue
            }
        }
        return mayWait
    }

    /// Whether the range begins with a text in lower case, whatever the case of its own letters.
    private static func begins(_ bytes: Span<UInt8>, _ range: Range<Int>, with text: StaticString) -> Bool {
        guard range.count >= text.utf8CodeUnitCount else { return false }
        for offset in 0..<text.utf8CodeUnitCount {
            let byte = bytes[range.lowerBound + offset]
            // Within the literal.
            let wanted = unsafe text.utf8Start[offset]
            guard byte == wanted || byte &- 0x41 < 26 && byte | 0x20 == wanted else { return false }
        }
        return true
    }
}
