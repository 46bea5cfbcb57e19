import JOSE
import Testing

struct JSONNumberTests {
    private func number(_ text: String) throws -> JSONNumber {
        try #require(JSONValue(parsing: Array(text.utf8)).number)
    }

    @Test(
        arguments: [
            ("0", 0), ("-0", 0), ("0.000", 0), ("0e999999999999999999999", 0), ("1", 1), ("1.0", 1), ("1e3", 1000),
            ("1.5e1", 15), ("1500e-2", 15), ("-12.50e2", -1250), ("9223372036854775807", .max),
            ("-9223372036854775808", .min), ("9.223372036854775807e18", .max), ("1e18", 1_000_000_000_000_000_000),
            ("0.0001e4", 1), ("100000000000000000000e-20", 1),
        ] as [(String, Int64)])
    func `gives integers exactly, however they are written`(text: String, value: Int64) throws {
        let number = try number(text)
        #expect(number.int64 == value)
        #expect(number.floor == value)
        #expect(number.ceiling == value)
        #expect(number.text == text)
    }

    @Test(
        arguments: [
            ("1.5", 1, 2), ("-1.5", -2, -1), ("0.1", 0, 1), ("-0.1", -1, 0), ("1e-400", 0, 1),
            ("9223372036854775806.5", Int64.max - 1, Int64.max), ("9223372036854775807.5", Int64.max, nil),
            ("-9223372036854775808.5", nil, Int64.min),
        ] as [(String, Int64?, Int64?)])
    func `rounds fractions to either side`(text: String, floor: Int64?, ceiling: Int64?) throws {
        let number = try number(text)
        #expect(number.int64 == nil)
        #expect(number.floor == floor)
        #expect(number.ceiling == ceiling)
    }

    @Test(arguments: [
        "9223372036854775808", "-9223372036854775809", "1e19", "1e300", "-1e300", "1e999999999999999999999",
        "123456789012345678901234567890", "123456789012345678901234567890.5",
    ])
    func `gives no integer beyond 64 bits`(text: String) throws {
        let number = try number(text)
        #expect(number.int64 == nil)
        #expect(number.floor == nil)
        #expect(number.ceiling == nil)
    }

    @Test func `gives the nearest double, and none that is infinite`() throws {
        #expect(try number("1.5e1").double == 15)
        #expect(try number("0.1").double == 0.1)
        #expect(try number("1e308").double == 1e308)
        #expect(try number("1e309").double == nil)
        #expect(try number("-1e309").double == nil)
    }
}
