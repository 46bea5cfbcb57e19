/// Finds what belongs to a host name, without making a string of it.
///
/// Names are lower case and without a trailing dot, on both sides. A wildcard name stands for one label before it, or
/// for any number of them, as the table was told.
struct NameTable: Sendable {
    enum Wildcard: Sendable { case oneLabel, manyLabels }

    private let wildcard: Wildcard
    private var exact: [(name: [UInt8], value: Int)] = []
    /// Without their `*`, but with the dot.
    private var suffixes: [(name: [UInt8], value: Int)] = []

    /// - Parameter entries: a name that comes twice keeps its first value.
    init(_ entries: [(name: String, value: Int)], wildcard: Wildcard) {
        self.wildcard = wildcard
        for entry in entries {
            let name = Array(entry.name.utf8)
            if entry.name.hasPrefix("*.") {
                NameTable.insert(Array(name.dropFirst()), entry.value, into: &suffixes)
            } else {
                NameTable.insert(name, entry.value, into: &exact)
            }
        }
    }

    /// An exact name comes before the longest wildcard. HOT.
    func value(for name: Span<UInt8>) -> Int? {
        if let value = NameTable.find(name, in: exact) { return value }
        guard !suffixes.isEmpty else { return nil }
        for index in name.indices where name[index] == UInt8(ascii: ".") {
            // A wildcard stands for one label at least, and a label has a letter at least.
            if index > 0, let value = NameTable.find(name.extracting(index...), in: suffixes) { return value }
            if case .oneLabel = wildcard { return nil }
        }
        return nil
    }

    private static func insert(_ name: [UInt8], _ value: Int, into list: inout [(name: [UInt8], value: Int)]) {
        let place = place(of: name.span, in: list)
        guard place == list.count || list[place].name != name else { return }
        list.insert((name, value), at: place)
    }

    private static func find(_ name: Span<UInt8>, in list: [(name: [UInt8], value: Int)]) -> Int? {
        let place = place(of: name, in: list)
        guard place < list.count else { return nil }
        let entry = list[place]
        return compare(entry.name.span, name) == 0 ? entry.value : nil
    }

    /// The first place whose name is not less.
    private static func place(of name: Span<UInt8>, in list: [(name: [UInt8], value: Int)]) -> Int {
        var low = 0
        var high = list.count
        while low < high {
            let middle = (low + high) / 2
            let entry = list[middle].name
            if compare(entry.span, name) < 0 { low = middle + 1 } else { high = middle }
        }
        return low
    }

    /// Shorter names first: most comparisons end at the length.
    private static func compare(_ left: Span<UInt8>, _ right: Span<UInt8>) -> Int {
        guard left.count == right.count else { return left.count - right.count }
        for index in left.indices where left[index] != right[index] { return Int(left[index]) - Int(right[index]) }
        return 0
    }
}

/// The name that a client asks for (RFC 6066 section 3).
enum ServerName {
    enum Refusal: Error { case malformed, unrecognized }

    /// Takes the one name out of the extension's content and copies it to `region`, lower case and without a trailing
    /// dot; its length. Compared by length, so that a NUL hides nothing: it is refused.
    ///
    /// - Parameter region: room for 255 bytes.
    static func read(_ content: Span<UInt8>, into region: UnsafeMutableBufferPointer<UInt8>) throws(Refusal) -> Int {
        // List length, then one entry: type 0, length, name. Other types do not exist, and a type comes once.
        guard content.count > 5, Int(content[0]) << 8 | Int(content[1]) == content.count - 2, content[2] == 0,
            Int(content[3]) << 8 | Int(content[4]) == content.count - 5
        else { throw .malformed }
        var count = content.count - 5
        guard count <= 255 else { throw .unrecognized }
        for index in 0..<count {
            let byte = content[5 + index]
            guard byte != 0 else { throw .unrecognized }
            // Within the region: at most 255.
            unsafe region[index] = (UInt8(ascii: "A")...UInt8(ascii: "Z")).contains(byte) ? byte | 0x20 : byte
        }
        if content[content.count - 1] == UInt8(ascii: ".") { count -= 1 }
        return count
    }
}
