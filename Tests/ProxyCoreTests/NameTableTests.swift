import Testing

@testable import ProxyCore

@Suite struct NameTableTests {
    private static let entries: [(name: String, value: Int)] = [
        ("a.test", 1), ("*.b.test", 2), ("x.b.test", 3), ("*.c.b.test", 4), ("a.test", 5), ("b", 6),
    ]

    @Test(
        arguments: [
            ("a.test", 1), ("x.b.test", 3), ("y.b.test", 2), ("c.b.test", 2), ("z.c.b.test", 4), ("b", 6),
            ("b.test", nil), (".b.test", nil), ("xb.test", nil), ("a.tes", nil), ("a.testx", nil), ("", nil),
            ("y.x.b.test", 2), ("y.z.c.b.test", 4), (".", nil),
        ] as [(String, Int?)])
    func `an exact name comes before the longest wildcard, which stands for any number of labels`(
        name: String, value: Int?
    ) {
        let table = NameTable(Self.entries, wildcard: .manyLabels)
        #expect(table.value(for: Array(name.utf8).span) == value)
    }

    @Test(
        arguments: [("y.b.test", 2), ("y.x.b.test", nil), ("z.c.b.test", 4), ("y.z.c.b.test", nil)] as [(String, Int?)])
    func `a wildcard of a certificate stands for one label`(name: String, value: Int?) {
        let table = NameTable(Self.entries, wildcard: .oneLabel)
        #expect(table.value(for: Array(name.utf8).span) == value)
    }

    @Test(
        arguments: [
            ([0, 8, 0, 0, 5] + Array("A.teS".utf8), "a.tes"), ([0, 9, 0, 0, 6] + Array("a.tes.".utf8), "a.tes"),
            ([0, 4, 0, 0, 1] + Array(".".utf8), ""), ([0, 4, 0, 0, 1, 0], nil),
            ([0, 6, 0, 0, 3] + Array("a\0b".utf8), nil), ([0, 3, 0, 0, 0], nil), ([], nil), ([0, 0], nil),
            ([0, 4, 1, 0, 1] + Array("a".utf8), nil), ([0, 5, 0, 0, 1] + Array("a".utf8), nil),
            ([0, 4, 0, 0, 2] + Array("a".utf8), nil),
            ([0, 8, 0, 0, 1] + Array("a".utf8) + [0, 0, 1] + Array("b".utf8), nil),
            ([1, 2, 0, 0, 255] + Array(repeating: 97, count: 255), String(repeating: "a", count: 255)),
            ([1, 3, 0, 1, 0] + Array(repeating: 97, count: 256), nil),
        ] as [([UInt8], String?)])
    func `the one name of a hello is read by its length, in lower case and without a trailing dot`(
        content: [UInt8], name: String?
    ) {
        let read = unsafe withUnsafeTemporaryAllocation(of: UInt8.self, capacity: 255) { region -> String? in
            guard let count = try? unsafe ServerName.read(content.span, into: region) else { return nil }
            return unsafe String(decoding: region[..<count], as: UTF8.self)
        }
        #expect(read == name)
    }
}
