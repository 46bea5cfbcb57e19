/// A fixed set of field names, asked with a name as it came. HOT: allocates nothing.
///
/// Names are compared folded: lower case, and every byte that is neither letter nor digit counts as `-`, as CGI and
/// WSGI servers make one variable of them all.
struct FieldNameSet: Sendable {
    /// Names of equal length stand together; those of length n begin at `starts[n]` and end at `starts[n + 1]`.
    private let names: [UInt8]
    private let starts: [Int]
    private let prefixes: [UInt8]
    /// Where each prefix begins; the last entry is where they end.
    private let prefixStarts: [Int]
    /// Bit n is set where some member begins with the letter at place n of the alphabet.
    private let firstLetters: UInt32

    /// - Parameters:
    ///   - names: folded, each beginning with a letter.
    ///   - prefixes: likewise; every name that begins so is a member.
    init(names: Set<String>, prefixes: Set<String>) {
        let members = names.sorted().map { Array($0.utf8) }
        let lengthMax = members.map(\.count).max() ?? 0
        var flat: [UInt8] = []
        var starts: [Int] = []
        for length in 0...(lengthMax + 1) {
            starts.append(flat.count)
            for member in members where member.count == length { flat += member }
        }
        self.names = flat
        self.starts = starts
        let beginnings = prefixes.sorted().map { Array($0.utf8) }
        self.prefixes = Array(beginnings.joined())
        prefixStarts = beginnings.reduce(into: [0]) { $0.append(($0.last ?? 0) + $1.count) }
        firstLetters = (members + beginnings).reduce(0) { $0 | FieldNameSet.letterBit($1[0]) }
    }

    /// Whether the folded name is a member.
    func contains(folding name: Span<UInt8>) -> Bool {
        guard name.count > 0, FieldNameSet.letterBit(fold(name[0])) & firstLetters != 0 else { return false }
        return hasName(name) || hasPrefix(name)
    }

    private func hasName(_ name: Span<UInt8>) -> Bool {
        guard name.count + 1 < starts.count else { return false }
        var start = starts[name.count]
        while start < starts[name.count + 1] {
            if FieldNameSet.agree(names.span, from: start, name, count: name.count) { return true }
            start += name.count
        }
        return false
    }

    private func hasPrefix(_ name: Span<UInt8>) -> Bool {
        for index in 0..<(prefixStarts.count - 1) {
            let count = prefixStarts[index + 1] - prefixStarts[index]
            guard count <= name.count else { continue }
            if FieldNameSet.agree(prefixes.span, from: prefixStarts[index], name, count: count) { return true }
        }
        return false
    }

    @inline(__always)
    private static func agree(_ folded: Span<UInt8>, from start: Int, _ name: Span<UInt8>, count: Int) -> Bool {
        for offset in 0..<count where folded[start + offset] != fold(name[offset]) { return false }
        return true
    }

    @inline(__always)
    private static func letterBit(_ byte: UInt8) -> UInt32 {
        (UInt8(ascii: "a")...UInt8(ascii: "z")).contains(byte) ? 1 << UInt32(byte - UInt8(ascii: "a")) : 0
    }
}

/// Lower case for a letter, the digit itself, `-` for everything else.
@inline(__always)
func fold(_ byte: UInt8) -> UInt8 {
    switch byte {
    case UInt8(ascii: "a")...UInt8(ascii: "z"), UInt8(ascii: "0")...UInt8(ascii: "9"): byte
    case UInt8(ascii: "A")...UInt8(ascii: "Z"): byte | 0x20
    default: UInt8(ascii: "-")
    }
}
