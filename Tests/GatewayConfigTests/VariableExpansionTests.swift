import Testing

@testable import GatewayConfig

@Suite struct VariableExpansionTests {
    private let environment = ["A": "1", "EMPTY": "", "TRICK": "${A}$$", "_B2": "2"]

    @Test(arguments: [
        ("plain", "plain"), ("${A}", "1"), ("x${A}y${_B2}", "x1y2"), ("$$", "$"), ("$${A}", "${A}"), ("$$$$", "$$"),
        ("${UNSET:-d}", "d"), ("${EMPTY:-d}", "d"), ("${EMPTY}", ""), ("${UNSET:-}", ""), ("${A:-d}", "1"),
        ("${UNSET:-a:-b}", "a:-b"), ("${TRICK}", "${A}$$"), ("${UNSET:-$$}", "$$"), ("", ""),
    ])
    func `replaces variables once`(text: String, expected: String) throws {
        #expect(try VariableExpansion.expand(text, environment: environment).text == expected)
    }

    @Test(arguments: [
        "$", "a$", "$A", "${", "${A", "${}", "${1A}", "${A-b}", "${A:b}", "${A }", "${UNSET}", "${é}", "$(A)",
        "${A:?x}",
    ])
    func `refuses a dollar that begins no variable, and one that is unset`(text: String) {
        #expect(throws: Refusal.self) { try VariableExpansion.expand(text, environment: environment) }
    }

    @Test func `names what it asked for`() throws {
        #expect(try VariableExpansion.expand("${A}${UNSET:-x}", environment: environment).names == ["A", "UNSET"])
    }
}
