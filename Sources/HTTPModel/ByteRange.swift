/// A range of offsets into the bytes of a head. Heads are at most 65,535 bytes long, so 16 bits suffice.
public struct ByteRange: Equatable, Sendable {
    /// Offset of the first byte.
    public var start: UInt16
    /// Number of bytes; 0 for an empty range.
    public var count: UInt16

    /// Memberwise.
    public init(start: UInt16, count: UInt16) {
        self.start = start
        self.count = count
    }

    /// The bytes from `start` to before `end`, both between 0 and 65,535.
    init(_ start: Int, _ end: Int) {
        precondition(start <= end)
        self.init(start: UInt16(start), count: UInt16(end - start))
    }

    /// Whether the range holds no byte.
    public var isEmpty: Bool { count == 0 }

    /// Offset just behind the last byte.
    public var end: Int { Int(start) + Int(count) }

    /// The same offsets as a range of `Int`, for `Span.extracting(_:)`.
    public var range: Range<Int> { Int(start)..<end }
}
