/// The code of RFC 7541 Appendix B, for tests. It is canonical: the lengths say all.
enum HTTP2Huffman {
    /// The symbols of each length, in order; 256 is the end of string.
    private static let symbols: [(length: Int, symbols: [Int])] = [
        (5, [48, 49, 50, 97, 99, 101, 105, 111, 115, 116]),
        (
            6,
            [
                32, 37, 45, 46, 47, 51, 52, 53, 54, 55, 56, 57, 61, 65, 95, 98, 100, 102, 103, 104, 108, 109, 110, 112,
                114, 117,
            ]
        ),
        (7, [58] + Array(66...87) + [89, 106, 107, 113, 118, 119, 120, 121, 122]),
        (8, [38, 42, 44, 59, 88, 90]),
        (10, [33, 34, 40, 41, 63]), (11, [39, 43, 124]), (12, [35, 62]), (13, [0, 36, 64, 91, 93, 126]),
        (14, [94, 125]), (15, [60, 96, 123]), (19, [92, 195, 208]),
        (20, [128, 130, 131, 162, 184, 194, 224, 226]),
        (21, [153, 161, 167, 172, 176, 177, 179, 209, 216, 217, 227, 229, 230]),
        (
            22,
            [
                129, 132, 133, 134, 136, 146, 154, 156, 160, 163, 164, 169, 170, 173, 178, 181, 185, 186, 187, 189, 190,
                196, 198, 228, 232, 233,
            ]
        ),
        (
            23,
            [
                1, 135, 137, 138, 139, 140, 141, 143, 147, 149, 150, 151, 152, 155, 157, 158, 165, 166, 168, 174, 175,
                180, 182, 183, 188, 191, 197, 231, 239,
            ]
        ),
        (24, [9, 142, 144, 145, 148, 159, 171, 206, 215, 225, 236, 237]), (25, [199, 207, 234, 235]),
        (26, [192, 193, 200, 201, 202, 205, 210, 213, 218, 219, 238, 240, 242, 243, 255]),
        (
            27,
            [
                203, 204, 211, 212, 214, 221, 222, 223, 241, 244, 245, 246, 247, 248, 250, 251, 252, 253, 254,
            ]
        ),
        (28, [2, 3, 4, 5, 6, 7, 8, 11, 12] + Array(14...21) + Array(23...31) + [127, 220, 249]),
        (30, [10, 13, 22, 256]),
    ]

    /// Code and length of each symbol.
    static let codes: [(code: UInt32, length: Int)] = {
        var codes = Array(repeating: (code: UInt32(0), length: 0), count: 257)
        var next: UInt32 = 0
        var last = 0
        for group in symbols {
            next <<= UInt32(group.length - last)
            last = group.length
            for symbol in group.symbols {
                codes[symbol] = (next, group.length)
                next += 1
            }
        }
        return codes
    }()

    private static let decoding: [UInt64: UInt8] = {
        var table: [UInt64: UInt8] = [:]
        for symbol in 0..<256 { table[UInt64(codes[symbol].length) << 32 | UInt64(codes[symbol].code)] = UInt8(symbol) }
        return table
    }()

    /// The symbols' codes, filled up with ones.
    static func encode(_ symbols: [Int]) -> [UInt8] {
        var bits = symbols.flatMap { symbol in
            let (code, length) = codes[symbol]
            return (0..<length).map { UInt8(code >> UInt32(length - 1 - $0) & 1) }
        }
        while bits.count % 8 != 0 { bits.append(1) }
        return stride(from: 0, to: bits.count, by: 8).map { start in
            bits[start..<start + 8].reduce(0) { $0 << 1 | $1 }
        }
    }

    static func encode(_ bytes: [UInt8]) -> [UInt8] { encode(bytes.map { Int($0) }) }

    static func decode(_ bytes: [UInt8]) -> [UInt8] {
        var result: [UInt8] = []
        var code: UInt64 = 0
        var length: UInt64 = 0
        for byte in bytes {
            for bit in (0..<8).reversed() {
                code = code << 1 | UInt64(byte >> UInt8(bit) & 1)
                length += 1
                guard let symbol = decoding[length << 32 | code] else { continue }
                result.append(symbol)
                code = 0
                length = 0
            }
        }
        return result
    }
}
