import Testing

@testable import AuthGateway

@Suite struct MethodRulesTests {
    private func match(_ methods: [[String]?], _ method: String) -> MethodRules.Match {
        MethodRules(methods: methods).match(method.bytes.span)
    }

    @Test func `the first rule whose methods match is the rule`() {
        #expect(match([["POST"], ["GET"], nil], "POST") == .rule(0))
        #expect(match([["POST"], ["GET"], nil], "GET") == .rule(1))
        #expect(match([["POST"], ["GET"], nil], "PATCH") == .rule(2))
        #expect(match([nil, ["GET"]], "GET") == .rule(0))
        #expect(match([["GET"], ["GET", "POST"]], "GET") == .rule(0))
    }

    @Test func `GET covers HEAD and HEAD does not cover GET`() {
        #expect(match([["GET"]], "HEAD") == .rule(0))
        #expect(match([["HEAD"]], "GET") == .notAllowed)
        #expect(match([["GET"], ["HEAD"]], "HEAD") == .rule(0))
        #expect(match([["HEAD"], ["GET"]], "HEAD") == .rule(0))
        #expect(match([["HEAD"], ["GET"]], "GET") == .rule(1))
    }

    @Test(arguments: ["get", "GE", "GETT", "OPTIONS", "X", "TRACE", ""])
    func `a method that no rule names is not allowed`(method: String) {
        #expect(match([["GET"], ["POST"]], method) == .notAllowed)
    }

    @Test func `Allow names each method once`() {
        #expect(MethodRules(methods: [["GET"], ["POST", "GET"], ["PUT"]]).allow == "GET, HEAD, POST, PUT".bytes)
        #expect(MethodRules(methods: [["HEAD", "GET"]]).allow == "HEAD, GET".bytes)
        #expect(MethodRules(methods: []).allow == [])
    }

    @Test func `a route with an empty list of rules allows nothing and one without rules does not ask`() {
        #expect(match([], "GET") == .notAllowed)
        #expect(match([[]], "GET") == .notAllowed)
        #expect(MethodRules.none.match("GET".bytes.span) == .noRules)
    }
}
