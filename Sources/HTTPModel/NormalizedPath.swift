/// Bytes that stay percent-encoded in a path although applications decode them into something dangerous. A request
/// with any of them is refused unless the matched route lists it.
public struct EncodedSpecials: OptionSet, Hashable, Sendable {
    /// The bits.
    public let rawValue: UInt8

    /// From bits.
    public init(rawValue: UInt8) { self.rawValue = rawValue }

    /// `%2F`.
    public static let slash = EncodedSpecials(rawValue: 1)
    /// `%5C`.
    public static let backslash = EncodedSpecials(rawValue: 2)
    /// `%00`.
    public static let nul = EncodedSpecials(rawValue: 4)
    /// `%01` to `%1F` and `%7F`.
    public static let controls = EncodedSpecials(rawValue: 8)
}

/// The normal form of a path: what routes are matched with, and what goes upstream. Reused from request to request.
public struct NormalizedPath: ~Copyable {
    /// Whether the normal form is the path as it was sent, so that the bytes of the head can go upstream.
    public internal(set) var isUnchanged = false
    /// Whether there is an inner or trailing run of `/`, which some applications merge.
    public internal(set) var hasEmptySegments = false
    /// Which dangerous bytes occur in encoded form.
    public internal(set) var encodedSpecials: EncodedSpecials = []
    /// Whether printable bytes that need no encoding for safety's sake occur in encoded form, such as `%40` for `@`:
    /// applications decode them, so that `/%40a` and `/@a` are one resource.
    public internal(set) var hasEncodedPrintable = false

    var buffer: FixedBytes
    var scratch: FixedBytes

    /// With room for paths of `capacity` bytes; a head's path has at most 65,535.
    public init(capacity: Int = 65_535) {
        buffer = FixedBytes(capacity: capacity)
        scratch = FixedBytes(capacity: capacity)
    }

    /// The normalised path; it begins with exactly one `/`.
    public var bytes: Span<UInt8> {
        @_lifetime(borrow self)
        get { buffer.span }
    }

    /// Appends the normalised path.
    public func appendBytes(to output: inout ByteBuffer) { output.append(buffer.span) }

    /// Whether `alternativeReadings` has any to show. False for nearly all paths.
    public var hasAlternativeReadings: Bool {
        hasEmptySegments || hasEncodedPrintable || !encodedSpecials.isDisjoint(with: [.slash, .backslash])
    }

    /// Shows `visit` every other way in which an application may read the normalised path, until it returns false.
    ///
    /// The readings are all combinations of: runs of `/` merged, `%2F` taken for `/`, `%5C` taken for `/`, and encoded
    /// printable bytes decoded. If one of them selects another rule than `bytes` does, the request must be refused
    /// with 400. The path must have been normalised without error, and the matched route must list its
    /// `encodedSpecials`. Nil, or the error for which the request must be refused whatever the rules say.
    public mutating func alternativeReadings(_ visit: (Span<UInt8>) -> Bool) -> TargetError? {
        var variants: Reading = []
        if hasEncodedPrintable { variants.insert(.decodesPrintable) }
        if encodedSpecials.contains(.slash) { variants.insert(.decodesSlash) }
        if encodedSpecials.contains(.backslash) { variants.insert(.decodesBackslash) }
        if hasEmptySegments || variants.decodesSeparator { variants.insert(.mergesSlashes) }
        for rawValue in 1...Reading.all.rawValue {
            let reading = Reading(rawValue: rawValue)
            guard reading.isSubset(of: variants) else { continue }
            if let error = write(reading) { return error }
            guard visit(scratch.span) else { return nil }
        }
        return nil
    }

    private struct Reading: OptionSet {
        let rawValue: UInt8
        static let mergesSlashes = Reading(rawValue: 1)
        static let decodesSlash = Reading(rawValue: 2)
        static let decodesBackslash = Reading(rawValue: 4)
        static let decodesPrintable = Reading(rawValue: 8)
        static let all = Reading(rawValue: 15)

        var decodesSeparator: Bool { !isDisjoint(with: [.decodesSlash, .decodesBackslash]) }

        /// What an encoded byte becomes in this reading, or nil if it stays encoded.
        func decode(_ byte: UInt8) -> UInt8? {
            switch byte {
            case Byte.slash: contains(.decodesSlash) ? Byte.slash : nil
            case Byte.backslash: contains(.decodesBackslash) ? Byte.slash : nil
            case 0x20..<0x7F: contains(.decodesPrintable) ? byte : nil
            default: nil
            }
        }
    }

    /// Writes one reading to `scratch`.
    private mutating func write(_ reading: Reading) -> TargetError? {
        scratch.truncate(to: 0)
        var slashes = 0
        var index = 0
        while index < buffer.count {
            var byte = buffer[index]
            index += 1
            if byte == Byte.percent {
                // A normalised path has two hexadecimal digits behind each percent sign.
                let high = Byte.hexValue(buffer[index]) ?? 0
                let low = Byte.hexValue(buffer[index + 1]) ?? 0
                guard let decoded = reading.decode(high << 4 | low) else {
                    scratch.append(Byte.percent)
                    scratch.append(buffer[index])
                    scratch.append(buffer[index + 1])
                    index += 2
                    continue
                }
                byte = decoded
                index += 2
            }
            if byte == Byte.slash {
                let isRun = scratch.count > 0 && scratch[scratch.count - 1] == Byte.slash
                if isRun, reading.contains(.mergesSlashes) { continue }
                if isRun, scratch.count == 1 { return .leadingSlashes }
                slashes += 1
                guard slashes <= RequestTarget.segmentsMax else { return .tooManySegments }
            }
            scratch.append(byte)
        }
        return nil
    }
}
