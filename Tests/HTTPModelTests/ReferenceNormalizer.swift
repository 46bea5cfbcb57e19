import HTTPModel

/// The rules for request targets once more, slowly and over strings, as the text of the design says them.
enum ReferenceNormalizer {
    struct Result: Equatable {
        var path: String
        var specials: EncodedSpecials
        var readings: [String]?
    }

    /// Nil where the path is refused; `readings` is nil where one of them is refused.
    static func normalize(_ bytes: [UInt8], allowInvalidUTF8: Bool = false) -> Result? {
        if bytes.isEmpty { return Result(path: "/", specials: [], readings: []) }
        // 400 for a raw `#`, `\`, control byte or byte over 0x7E; a `?` cannot be in a path.
        guard bytes.allSatisfy({ $0 > 0x20 && $0 <= 0x7E && !"#\\?".utf8.contains($0) }) else { return nil }
        let raw = String(decoding: bytes, as: UTF8.self)
        guard let units = units(of: raw), raw.hasPrefix("/"), !raw.hasPrefix("//") else { return nil }
        let segments = raw.dropFirst().split(separator: "/", omittingEmptySubsequences: false).map(String.init)
        guard segments.count <= 64 else { return nil }
        guard !segments.contains(where: isDisguised) else { return nil }
        // Decode what is unreserved, upper-case the rest, resolve dots.
        let decodedBytes = units.flatMap { $0.count == 1 ? Array($0.utf8) : [UInt8($0.dropFirst(), radix: 16) ?? 0] }
        guard allowInvalidUTF8 || String(validating: decodedBytes, as: UTF8.self) != nil else { return nil }
        var stack: [String] = []
        for (index, segment) in segments.enumerated() {
            let isLast = index == segments.count - 1
            switch segment {
            case ".": if isLast { stack.append("") }
            case "..":
                guard stack.popLast() != nil else { return nil }
                if isLast { stack.append("") }
            default: stack.append((Self.units(of: segment) ?? []).map(normalUnit).joined())
            }
        }
        let path = "/" + stack.joined(separator: "/")
        guard !path.hasPrefix("//") else { return nil }
        return Result(path: path, specials: specials(in: path), readings: readings(of: path))
    }

    /// Single characters and whole escapes; nil if an escape is broken.
    private static func units(of text: String) -> [String]? {
        var rest = text[...]
        var units: [String] = []
        while let first = rest.first {
            let unit = rest.prefix(first == "%" ? 3 : 1)
            if first == "%" {
                guard unit.count == 3, unit.dropFirst().allSatisfy({ "0123456789abcdefABCDEF".contains($0) }) else {
                    return nil
                }
            }
            units.append(String(unit))
            rest = rest.dropFirst(unit.count)
        }
        return units
    }

    private static func normalUnit(_ unit: String) -> String {
        guard unit.count == 3, let byte = UInt8(unit.dropFirst(), radix: 16) else { return unit }
        let character = Character(Unicode.Scalar(byte))
        let isUnreserved = byte < 0x80 && (character.isLetter || character.isNumber || "-._~".contains(character))
        return isUnreserved ? String(character) : unit.uppercased()
    }

    /// Dots that are a dot segment to some server only.
    private static func isDisguised(_ segment: String) -> Bool {
        let decoded = (units(of: segment) ?? []).map(normalUnit).joined()
        if [".", ".."].contains(decoded) { return decoded != segment }
        let separated = decoded.replacing("%2F", with: "/").replacing("%5C", with: "/")
        return separated.split(separator: "/", omittingEmptySubsequences: false).contains { piece in
            let ended = piece.replacing("%3B", with: ";").replacing("%00", with: ";")
            let name = ended.split(separator: ";", omittingEmptySubsequences: false).first ?? ""
            return name == "." || name == ".."
        }
    }

    private static func specials(in path: String) -> EncodedSpecials {
        var specials: EncodedSpecials = []
        for unit in units(of: path) ?? [] where unit.count == 3 {
            switch unit {
            case "%2F": specials.insert(.slash)
            case "%5C": specials.insert(.backslash)
            case "%00": specials.insert(.nul)
            case "%7F": specials.insert(.controls)
            default: if "01".contains(unit.dropFirst().prefix(1)) { specials.insert(.controls) }
            }
        }
        return specials
    }

    private static func readings(of path: String) -> [String]? {
        var readings: [String] = []
        let units = units(of: path) ?? []
        for (merges, slash, backslash, printable) in combinations {
            var reading = units.map { unit in
                switch unit {
                case "%2F": return slash ? "/" : unit
                case "%5C": return backslash ? "/" : unit
                default:
                    guard printable, unit.count == 3, let byte = UInt8(unit.dropFirst(), radix: 16),
                        (0x20..<0x7F).contains(byte)
                    else { return unit }
                    return String(Character(Unicode.Scalar(byte)))
                }
            }.joined()
            while merges, reading.contains("//") { reading = reading.replacing("//", with: "/") }
            if reading.hasPrefix("//") || reading.count(where: { $0 == "/" }) > 64 { return nil }
            if reading != path, !readings.contains(reading) { readings.append(reading) }
        }
        return readings.sorted()
    }

    private static let combinations: [(Bool, Bool, Bool, Bool)] = (0..<16).map {
        ($0 & 1 != 0, $0 & 2 != 0, $0 & 4 != 0, $0 & 8 != 0)
    }
}

/// SplitMix64: the same numbers in every run.
struct SeededGenerator: RandomNumberGenerator {
    var state: UInt64

    mutating func next() -> UInt64 {
        state &+= 0x9E37_79B9_7F4A_7C15
        var mixed = (state ^ state >> 30) &* 0xBF58_476D_1CE4_E5B9
        mixed = (mixed ^ mixed >> 27) &* 0x94D0_49BB_1331_11EB
        return mixed ^ mixed >> 31
    }
}
