/// What is wrong with the bytes of a head, whatever they say (RFC 9112 sections 2.2 and 5).
public enum HeadSyntaxError: Error, Equatable, Sendable {
    /// A line feed without a carriage return before it.
    case bareLineFeed
    /// A carriage return without a line feed behind it.
    case bareCarriageReturn
    /// A line that begins with a blank: an obsolete line fold, or blanks before the first field.
    case foldedLine
    /// A blank between a field name and its colon.
    case blankBeforeColon
    /// A field line that begins with its colon.
    case emptyName
    /// A byte in a field name that is no token byte, or a line without a colon.
    case invalidName
    /// A control byte, NUL included, in a field value or a reason phrase.
    case invalidValue
}

/// Reads field lines up to the empty line, byte for byte, and never looks at a byte twice between two calls.
struct FieldLineReader {
    enum Outcome: Equatable {
        /// All bytes are used up; call again with more.
        case needsMore
        /// A line was appended to the table.
        case line
        /// The empty line was read; `position` is behind it.
        case end
        case failed(HeadSyntaxError)
        /// The line is well-formed and the table or its limit is full.
        case tooMany
    }

    /// Offset of the next byte to look at.
    private(set) var position = 0
    private var step = Step.lineStart
    private var nameStart = 0
    private var nameEnd = 0
    private var valueStart = 0
    private var isUsual = true

    private enum Step { case lineStart, name, blanks, value, lineFeed, lastLineFeed }

    /// Starts at `position`, the first byte of the field section.
    mutating func start(at position: Int) {
        self = FieldLineReader()
        self.position = position
    }

    /// Reads on from `position` to before `end`, until a line is complete.
    @inline(__always)
    mutating func next(_ bytes: Span<UInt8>, to end: Int, into fields: inout FieldTable, fieldsMax: Int) -> Outcome {
        var index = position
        defer { position = index }
        while index < end {
            // Each case falls into the next one, so that a line that is there as a whole takes one way through.
            switch step {
            case .lineStart:
                let byte = bytes[index]
                if byte == Byte.carriageReturn {
                    step = .lastLineFeed
                    index += 1
                    continue
                }
                guard !Byte.isBlank(byte) else { return .failed(.foldedLine) }
                nameStart = index
                isUsual = true
                step = .name
                fallthrough
            case .name:
                var bits = ByteTable.usual
                while index < end {
                    let classes = ByteTable.classes[Int(bytes[index])]
                    guard classes & ByteTable.token != 0 else { break }
                    bits &= classes
                    index += 1
                }
                if bits == 0 { isUsual = false }
                guard index < end else { return .needsMore }
                guard bytes[index] == Byte.colon, index > nameStart else {
                    return .failed(nameError(bytes[index], isEmpty: index == nameStart))
                }
                nameEnd = index
                index += 1
                step = .blanks
                fallthrough
            case .blanks:
                while index < end, Byte.isBlank(bytes[index]) { index += 1 }
                valueStart = index
                guard index < end else { return .needsMore }
                step = .value
                fallthrough
            case .value:
                index = bytes.firstControl(from: index, to: end)
                while index < end, bytes[index] == Byte.tab { index = bytes.firstControl(from: index + 1, to: end) }
                guard index < end else { return .needsMore }
                guard bytes[index] == Byte.carriageReturn else {
                    return .failed(bytes[index] == Byte.lineFeed ? .bareLineFeed : .invalidValue)
                }
                index += 1
                step = .lineFeed
                guard index < end else { return .needsMore }
                fallthrough
            case .lineFeed:
                guard bytes[index] == Byte.lineFeed else { return .failed(.bareCarriageReturn) }
                var valueEnd = index - 1
                while valueEnd > valueStart, Byte.isBlank(bytes[valueEnd - 1]) { valueEnd -= 1 }
                let line = FieldLine(
                    name: ByteRange(nameStart, nameEnd), value: ByteRange(valueStart, valueEnd),
                    known: isUsual ? KnownField.find(bytes, nameStart..<nameEnd) : .other,
                    hasUnusualName: !isUsual)
                index += 1
                step = .lineStart
                guard fields.count < fieldsMax, fields.append(line) else { return .tooMany }
                return .line
            case .lastLineFeed:
                guard bytes[index] == Byte.lineFeed else { return .failed(.bareCarriageReturn) }
                index += 1
                return .end
            }
        }
        return .needsMore
    }

    private func nameError(_ byte: UInt8, isEmpty: Bool) -> HeadSyntaxError {
        switch byte {
        case Byte.lineFeed: .bareLineFeed
        case Byte.colon: .emptyName
        case Byte.space, Byte.tab: .blankBeforeColon
        default: .invalidName
        }
    }
}
