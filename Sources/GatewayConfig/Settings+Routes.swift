internal import IdentityModel

extension Settings {
    enum Route {
        static let name = Setting.optional(
            "routes[].name", .text(bytesMax: 128, what: "text"), absent: "host and path",
            help: "The name in logs and metrics.")
        static let host = Setting.optional(
            "routes[].host", .hostPattern, absent: "every host",
            help:
                "A leading `*.` stands for one or more labels. An exact host comes before the longest `*.`, that before none."
        )
        static let path = Setting.required(
            "routes[].path", .pathPattern,
            help:
                "`*` stands for one segment, a final `**` for the rest. The most specific route answers, whatever its place."
        )
        static let upstream = Setting.required(
            "routes[].upstream", .name, help: "A name under `upstreams`, or `identity`, the service in this program.")
        static let isPublic = Setting.with(
            "routes[].public", .boolean, default: false, help: "Reads no credential and writes no identity.")
        static let isOptional = Setting.with(
            "routes[].optional", .boolean, default: false,
            help: "Reads credentials and goes on without any, but not with a wrong one.")
        static let credentials = Setting.optional(
            "routes[].credentials", .credential, absent: "`session` and `jwt`, as far as configured",
            isList: true,
            help: "The credentials that the route accepts: a token counts before a certificate, and that before a "
                + "session; `certificate` counts only where it is named.")
        static let limit = Setting.optional(
            "routes[].limit", .name, absent: "none", isList: true, help: "Limits for the whole route.")
        static let headers = Setting<GatewayConfiguration.Route.HeaderPreset>.with(
            "routes[].headers", .choice, default: .auth,
            help: "The names under which the application gets the identity.")
        static let forwardCredential = Setting.with(
            "routes[].forward_credential", .boolean, default: false,
            help: "Passes on the credential that was used up here.")
        static let preflight = Setting.optional(
            "routes[].preflight", .word("pass"), absent: "preflights need what other requests need",
            help: "`pass` lets a CORS preflight through without identity.")
        static let allowEncoded = Setting.optional(
            "routes[].allow_encoded", .encodedByte, absent: "none", isList: true,
            help: "Encoded bytes that the route lets through although applications read them in two ways.")
        static let bodyBytesMax = Setting.optional(
            "routes[].body_bytes_max", .size(0...1 << 50), absent: "no bound", help: "The longest request body.")
        static let bufferRequest = Setting.with(
            "routes[].buffer_request", .boolean, default: false,
            help: "Reads the whole request body before the application sees the request, so that a slow client "
                + "does not hold one of its workers.")
        static let bufferResponse = Setting.with(
            "routes[].buffer_response", .boolean, default: false,
            help: "Takes answers from the application as fast as it gives them, for the same reason. Event streams, "
                + "and answers with `X-Accel-Buffering: no`, pass as they come.")
        static let requestTrailers = Setting.optional(
            "routes[].trailers.request", .trailerName, absent: "none", isList: true,
            help: "Trailer fields of requests that the application gets, in chunked bodies and over HTTP/2; all others "
                + "are dropped.")
        static let responseTrailers = Setting.optional(
            "routes[].trailers.response", .trailerName, absent: "none", isList: true,
            help: "Trailer fields of answers that the client gets; all others are dropped.")
        static let requestTimeout = Setting.optional(
            "routes[].request_timeout", .duration(.milliseconds(100) ... .days(7)), absent: "that of the listener",
            help: "Longest time from a complete request head to the end of the answer, of whatever kind: upgraded "
                + "connections and event streams too.")
        static let methods = Setting.optional(
            "routes[].rules[].methods", .method, absent: "every method", isList: true,
            help: "The first rule whose methods match decides; GET covers HEAD; where none does, 405.")
        static let ruleLimit = Setting.optional(
            "routes[].rules[].limit", .name, absent: "none", isList: true, help: "Limits for this rule.")

        static let when = Setting.required(
            "tests[].when", .testRequest, help: "A method and a URL: `GET https://billing.example.com/invoices/7`.")
        static let asScopes = Setting.optional(
            "tests[].as.scopes", .scope, absent: "none", isList: true,
            help: "Scopes of the subject, besides those of its roles.")
        static let asRoles = Setting.optional(
            "tests[].as.roles", .role, absent: "none", isList: true,
            help: "Roles of the subject, with the scopes that `roles` gives them.")
        static let expect = Setting.required(
            "tests[].expect", .expectation, help: "`allow`, `challenge`, `deny`, or a status.")

        static let all: [any SettingDeclaration] =
            [
                SettingGroup(
                    "routes", .listOfMappings, help: "What is let through, and to where; everything else is 404."),
                name, host, path, upstream, isPublic, isOptional,
                SettingGroup(
                    "routes[].require", .requirement, help: "What every request of the route needs: short for one rule."
                ),
                SettingGroup("routes[].rules", .listOfMappings, help: "What requests need, by method."),
                methods,
                SettingGroup("routes[].rules[].require", .requirement, help: "What the rule asks of the subject."),
                ruleLimit, credentials, limit, headers, forwardCredential, preflight, allowEncoded, bodyBytesMax,
                bufferRequest, bufferResponse, requestTimeout,
                SettingGroup(
                    "routes[].trailers", .mapping(word: nil), help: "Fields behind a body that are passed on."),
                requestTrailers, responseTrailers,
            ] + SecurityHeaders.route.all + tests

        private static let tests: [any SettingDeclaration] = [
            SettingGroup("tests", .listOfMappings, help: "Expectations, run by `check` and before every reload."),
            when,
            SettingGroup("tests[].as", .mapping(word: "nobody"), help: "Who asks; `nobody` unless given."),
            asScopes, asRoles, expect,
        ]
    }

    /// Keys of a requirement, which nests and so has no pattern of its own.
    enum Require {
        static let keys: [(key: String, help: String)] = [
            ("authenticated", "`true`: any subject, but one."),
            ("scopes", "All of these scopes; `*` stands for one segment, as in `api:*:read`."),
            ("roles", "Any one of these roles."),
            ("all_of", "A list of requirements, all of which hold."),
            ("any_of", "A list of requirements, at least one of which holds."),
        ]
    }
}

/// The request line of a test.
struct TestRequest: Sendable {
    var method: String
    var url: String
}

extension SettingType where Value == TestRequest {
    static let testRequest = SettingType(
        name: "request", allowed: "a method and a URL, such as GET https://app.example.com/reports",
        schema: .members(["type": .string("string")]),
        read: { text throws(Refusal) in
            let words = text.split(separator: " ", omittingEmptySubsequences: false)
            guard words.count == 2 else { throw Refusal("\(text.quoted) is no method and URL") }
            let url = String(words[1])
            // The query takes no part, but may stand here to show that it does not.
            let withoutQuery = String(url.prefix { $0 != "?" })
            guard WebURL(withoutQuery) != nil,
                url.utf8.allSatisfy({ (0x21...0x7E).contains($0) && $0 != UInt8(ascii: "#") })
            else { throw Refusal("\(url.quoted) is no absolute URL") }
            return TestRequest(method: try SettingType<String>.method.read(String(words[0])), url: url)
        },
        show: { "\($0.method) \($0.url)" })
}

extension SettingType where Value == GatewayConfiguration.RouteTest.Expectation {
    static let expectation = SettingType(
        name: "word or status", allowed: "allow, challenge, deny, or a status from 100 to 599",
        schema: .members([
            "anyOf": .array([
                .members(["enum": .array([.string("allow"), .string("challenge"), .string("deny")])]),
                .members(["type": .string("integer"), "minimum": .integer(100), "maximum": .integer(599)]),
            ])
        ]),
        read: { text throws(Refusal) in
            switch text {
            case "allow": return .allow
            case "challenge": return .challenge
            case "deny": return .deny
            default:
                guard let status = Digits.value(text), (100...599).contains(status) else {
                    throw Refusal("\(text.quoted) is no expectation")
                }
                return .status(status)
            }
        },
        show: {
            switch $0 {
            case .allow: "allow"
            case .challenge: "challenge"
            case .deny: "deny"
            case .status(let status): "\(status)"
            }
        })
}
