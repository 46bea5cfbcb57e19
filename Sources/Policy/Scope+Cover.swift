public import IdentityModel

extension Scope {
    /// Whether whoever is granted this scope has what a rule asks for.
    ///
    /// Scopes agree segment by segment, and both must have the same number of segments. A segment that is `*` alone,
    /// on either side, agrees with every segment, an empty one and `*` included. A `*` within a longer segment is text.
    public func covers(_ required: Scope) -> Bool {
        let granted = name.utf8
        let wanted = required.name.utf8
        return Scope.segmentsAgree(granted.span, wanted.span)
    }

    private static func segmentsAgree(_ granted: Span<UInt8>, _ wanted: Span<UInt8>) -> Bool {
        var grantedStart = 0
        var wantedStart = 0
        while true {
            let grantedEnd = segmentEnd(granted, from: grantedStart)
            let wantedEnd = segmentEnd(wanted, from: wantedStart)
            let agree =
                isAny(granted, grantedStart, grantedEnd) || isAny(wanted, wantedStart, wantedEnd)
                || isEqual(granted, grantedStart, grantedEnd, wanted, wantedStart, wantedEnd)
            guard agree else { return false }
            let grantedIsDone = grantedEnd == granted.count
            let wantedIsDone = wantedEnd == wanted.count
            if grantedIsDone || wantedIsDone { return grantedIsDone && wantedIsDone }
            grantedStart = grantedEnd + 1
            wantedStart = wantedEnd + 1
        }
    }

    private static func segmentEnd(_ bytes: Span<UInt8>, from start: Int) -> Int {
        var index = start
        while index < bytes.count, bytes[index] != separator { index += 1 }
        return index
    }

    private static func isAny(_ bytes: Span<UInt8>, _ start: Int, _ end: Int) -> Bool {
        end - start == 1 && bytes[start] == anySegment
    }

    private static func isEqual(
        _ left: Span<UInt8>, _ leftStart: Int, _ leftEnd: Int, _ right: Span<UInt8>, _ rightStart: Int, _ rightEnd: Int
    ) -> Bool {
        guard leftEnd - leftStart == rightEnd - rightStart else { return false }
        for offset in 0..<(leftEnd - leftStart) where left[leftStart + offset] != right[rightStart + offset] {
            return false
        }
        return true
    }

    private static let separator = UInt8(ascii: ":")
    private static let anySegment = UInt8(ascii: "*")
}

extension Set<Scope> {
    /// Whether one of these grants covers the scope that a rule asks for.
    public func cover(_ required: Scope) -> Bool {
        // The usual grant is spelled like the requirement; a scan is for wildcards alone.
        contains(required) || contains { $0.covers(required) }
    }
}
