/// The place of one cookie in the value of a Cookie field. Offsets are those of the bytes it was found in.
public struct CookiePair: Equatable, Sendable {
    /// The name without blanks; may be empty.
    public var name: Range<Int>
    /// The value without blanks and without the quotes around it, if there are both.
    public var value: Range<Int>
    /// All between two semicolons, blanks included.
    public var whole: Range<Int>
}

/// Walks through the cookies of one Cookie field value (RFC 6265 section 4.2.1). It never fails: what is no
/// `name=value` is passed over.
public struct CookieFields: Sendable {
    private var position: Int
    private let end: Int

    /// Over the cookies in `range` of the bytes that `next(in:)` will get.
    public init(_ range: Range<Int>) {
        position = range.lowerBound
        end = range.upperBound
    }

    /// The next cookie, or nil at the end.
    public mutating func next(in bytes: Span<UInt8>) -> CookiePair? {
        while let whole = nextPart(in: bytes) {
            guard let equals = bytes.firstIndex(of: Byte.equals, in: whole) else { continue }
            let value = bytes.trimmingBlanks(equals + 1..<whole.upperBound)
            return CookiePair(
                name: bytes.trimmingBlanks(whole.lowerBound..<equals), value: bytes.trimmingQuotes(value), whole: whole)
        }
        return nil
    }

    /// What was found under a name.
    public enum Match: Equatable, Sendable {
        /// No such cookie.
        case none
        /// Its one value.
        case one(Range<Int>)
        /// The name occurs more than once, be the values equal or not; none of them can be believed.
        case several

        /// What this field and another one of the same request hold together.
        public func merged(with other: Match) -> Match {
            switch (self, other) {
            case (.none, let match), (let match, .none): match
            default: .several
            }
        }
    }

    /// The value of the cookie called `name`, byte for byte, in `range` of `bytes`.
    ///
    /// A name in quotes is another name here, but `forEachKept(of:in:cutting:keep:)` takes it for the same.
    public static func value(named name: Span<UInt8>, of range: Range<Int>, in bytes: Span<UInt8>) -> Match {
        var cookies = CookieFields(range)
        var match = Match.none
        while let cookie = cookies.next(in: bytes) {
            guard bytes.equals(cookie.name, name) else { continue }
            match = match.merged(with: .one(cookie.value))
        }
        return match
    }

    /// Cuts cookies out of a Cookie field value: `keep` gets the ranges that, one behind the other, are the new value.
    /// It gets none if no cookie is left; the field must go then.
    ///
    /// `isCut` gets each name without blanks and without quotes around it, so that no spelling that some application
    /// takes for the name gets past. The name is empty for what is no `name=value`.
    public static func forEachKept(
        of range: Range<Int>, in bytes: Span<UInt8>, cutting isCut: (Span<UInt8>) -> Bool, keep: (Range<Int>) -> Void
    ) {
        var parts = CookieFields(range)
        var kept: Range<Int>?
        while let part = parts.nextPart(in: bytes) {
            let nameEnd = bytes.firstIndex(of: Byte.equals, in: part) ?? part.lowerBound
            let name = bytes.bareName(part.lowerBound..<nameEnd)
            let trimmed = bytes.trimmingBlanks(part)
            if trimmed.isEmpty || isCut(bytes.extracting(name)) { continue }
            guard let before = kept else {
                kept = trimmed
                continue
            }
            // The semicolon and the blank before a part go with it, unless it is the first one kept.
            if before.upperBound == part.lowerBound - 1 {
                kept = before.lowerBound..<trimmed.upperBound
            } else {
                keep(before)
                kept = part.lowerBound - 1..<trimmed.upperBound
            }
        }
        if let kept { keep(kept) }
    }

    /// The next piece between semicolons.
    private mutating func nextPart(in bytes: Span<UInt8>) -> Range<Int>? {
        guard position < end else { return nil }
        let semicolon = bytes.firstIndex(of: Byte.semicolon, in: position..<end) ?? end
        defer { position = semicolon + 1 }
        return position..<semicolon
    }
}

/// What an upstream's Set-Cookie field sets.
public enum SetCookie {
    /// The name under which a browser will send the cookie back, without blanks and quotes; nil if it sets none.
    ///
    /// A cookie without a name comes back as its bare value, so that `=session=x` plants a `session`
    /// (draft-ietf-httpbis-rfc6265bis section 5.7). It is named after what it would plant.
    public static func name(of range: Range<Int>, in bytes: Span<UInt8>) -> Range<Int>? {
        let end = bytes.firstIndex(of: Byte.semicolon, in: range) ?? range.upperBound
        var start = range.lowerBound
        while start < end, Byte.isBlank(bytes[start]) || bytes[start] == Byte.equals { start += 1 }
        guard let equals = bytes.firstIndex(of: Byte.equals, in: start..<end) else { return nil }
        let name = bytes.bareName(start..<equals)
        return name.isEmpty ? nil : name
    }
}

extension Span<UInt8> {
    /// `range` without the double quotes at its ends, if it has both.
    func trimmingQuotes(_ range: Range<Int>) -> Range<Int> {
        guard range.count >= 2, self[range.lowerBound] == Byte.quote, self[range.upperBound - 1] == Byte.quote else {
            return range
        }
        return range.lowerBound + 1..<range.upperBound - 1
    }

    /// `range` without blanks, quotes, and blanks inside the quotes.
    func bareName(_ range: Range<Int>) -> Range<Int> { trimmingBlanks(trimmingQuotes(trimmingBlanks(range))) }

    /// Whether `range` holds the bytes of `other`.
    func equals(_ range: Range<Int>, _ other: Span<UInt8>) -> Bool {
        guard range.count == other.count else { return false }
        var offset = 0
        while offset < other.count {
            guard self[range.lowerBound + offset] == other[offset] else { return false }
            offset += 1
        }
        return true
    }
}
