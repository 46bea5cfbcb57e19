import GatewayConfig
import Testing

@Suite struct EnvironmentTests {
    @Test func `a GATEWAY_ variable comes before the file`() {
        let environment = [
            "GATEWAY_WORKERS": "7", "GATEWAY_LOG__LEVEL": "debug", "GATEWAY_TRUSTED_PROXIES": "10.0.0.0/8, 127.0.0.1",
            "GATEWAY_IDENTITY__DATABASE": "/var/lib/other.db", "GATEWAY_ADMIN__ADDRESS": "127.0.0.1:1",
        ]
        let result = load(file(top: "workers: 2\nadmin: off"), environment: environment)
        #expect(result.problems.map(\.description) == [])
        #expect(result.configuration?.workers == 7)
        #expect(result.configuration?.log.level == "debug")
        #expect(result.configuration?.trustedProxies.count == 2)
        #expect(result.configuration?.identity.databasePath == "/var/lib/other.db")
        #expect(result.configuration?.admin.address == .tcp(host: "127.0.0.1", port: 1))
    }

    @Test func `a wrong value in a variable is an error that names the variable`() {
        let result = load(file(), environment: ["GATEWAY_WORKERS": "many"])
        #expect(
            result.problems.map(\.description) == [
                "environment: GATEWAY_WORKERS: 'many' is no decimal number; write a decimal number from 1 to 1024"
            ])
        #expect(result.configuration == nil)
    }

    @Test func `an empty override is an error and not the default`() {
        #expect(load(file(), environment: ["GATEWAY_LOG__LEVEL": ""]).configuration == nil)
    }

    @Test func `a variable that overrides nothing is reported, with the name that was meant`() {
        let problems = load(file(), environment: ["GATEWAY_TRUSTED_PROXYS": "10.0.0.0/8", "OTHER": "x"]).problems
        #expect(problems.map(\.severity) == [.warning])
        #expect(problems.first?.cure.contains("GATEWAY_TRUSTED_PROXIES") == true)
    }

    @Test func `a variable that the file names is nobody's typing error`() {
        let result = load(file(top: "workers: ${GATEWAY_COUNT}"), environment: ["GATEWAY_COUNT": "4"])
        #expect(result.problems.isEmpty && result.configuration?.workers == 4)
    }

    @Test func `an alias counts where the file is silent`() {
        let environment = ["DATABASE_URL": "sqlite:////data/iam.db", "REDIS_URL": "redis://redis:6379"]
        let silent = load(file(), environment: environment).configuration
        #expect(silent?.identity.databasePath == "/data/iam.db" && silent?.redis?.host == "redis")
        let spoken = load(
            file(top: "identity: { database: own.db }\nredis: { url: redis://own }"), environment: environment
        ).configuration
        #expect(spoken?.identity.databasePath == "own.db" && spoken?.redis?.host == "own")
        let overridden = load(file(), environment: environment.merging(["GATEWAY_REDIS__URL": "redis://over"]) { $1 })
        #expect(overridden.configuration?.redis?.host == "over")
    }

    @Test func `another engine in DATABASE_URL is refused without its password`() {
        let result = load(file(), environment: ["DATABASE_URL": "mysql+pymysql://iam_user:hunter2@mysql:3306/iam"])
        #expect(result.configuration == nil)
        #expect(result.problems.map(\.message) == ["databases of the kind 'mysql+pymysql' are not built yet"])
    }

    @Test func `three variables describe an issuer where the file has none`() throws {
        var environment = [
            "JWT_ISSUER": "iam.company", "JWT_AUDIENCE": "oms",
            "IAM_JWKS_URL": "https://user-service/.well-known/jwks.json",
        ]
        let result = load(file(), environment: environment)
        #expect(result.problems.map(\.description) == [])
        let issuer = try #require(result.configuration?.authentication.jwt.first)
        #expect(issuer.issuer == "iam.company" && issuer.audiences == ["oms"])
        #expect(issuer.algorithms == [.ES256, .RS256])
        environment["JWT_AUDIENCE"] = nil
        #expect(load(file(), environment: environment).configuration == nil)
    }

    @Test func `the environment does not change an issuer of the file`() {
        let environment = ["JWT_ISSUER": "evil", "JWT_AUDIENCE": "evil", "IAM_JWKS_URL": "https://evil/keys"]
        let result = load(file(authentication: "  jwt: [{ keys: identity }]"), environment: environment)
        #expect(result.configuration?.authentication.jwt.map(\.issuer) == ["auth-gateway"])
        #expect(result.configuration?.authentication.jwt.map(\.audiences) == [["auth-gateway"]])
        for entry in [
            "{ issuer: a, audience: b }", "{ issuer: a, keys: { jwks_file: keys.json } }",
            "{ audience: b, keys: { jwks_file: keys.json } }",
        ] {
            #expect(load(file(authentication: "  jwt: [\(entry)]"), environment: environment).configuration == nil)
        }
    }

    @Test func `an issuer without keys in the environment is reported`() {
        let result = load(file(), environment: ["JWT_ISSUER": "iam.company"])
        #expect(result.problems.map(\.severity) == [.warning])
        #expect(result.configuration?.authentication.jwt.isEmpty == true)
    }
}
