import JOSE
import Outbound
import Synchronization
import Testing

@testable import AuthGateway

/// An issuer whose next answers a test writes down; it counts calls and can let them wait.
private final class FakeIssuer: Sendable {
    typealias Answer = Result<FetchResponse, FetchError>

    private struct State {
        var answer: Answer
        var callCount = 0
        var isHeld = false
        var held: [CheckedContinuation<Void, Never>] = []
    }

    private let state: Mutex<State>

    init(_ answer: Answer) { state = Mutex(State(answer: answer)) }

    var callCount: Int { state.withLock { $0.callCount } }

    func answer(_ answer: Answer) { state.withLock { $0.answer = answer } }

    func hold() { state.withLock { $0.isHeld = true } }

    func release() {
        let held = state.withLock { state in
            defer { state.held = [] }
            state.isHeld = false
            return state.held
        }
        for continuation in held { continuation.resume() }
    }

    func call(_ url: String, _ limits: FetchLimits) async throws(FetchError) -> FetchResponse {
        await withCheckedContinuation { continuation in
            let isHeld = state.withLock { state in
                state.callCount += 1
                if state.isHeld { state.held.append(continuation) }
                return state.isHeld
            }
            if !isHeld { continuation.resume() }
        }
        return try state.withLock { $0.answer }.get()
    }

    static func keys(_ keys: [JWK]) -> Answer { body(JWKSet(keys).encoded()) }

    static func body(_ body: [UInt8], status: Int = 200) -> Answer {
        .success(FetchResponse(status: status, contentType: "application/json", body: body))
    }
}

@Suite(.timeLimit(.minutes(1)))
struct RemoteKeySetTests {
    private let first: JWK
    private let second: JWK

    init() throws {
        first = JWK(key: try SigningKey.generate().publicKey, keyID: "first")
        second = JWK(key: try SigningKey.generate().publicKey, keyID: "second")
    }

    private func remote(_ issuer: FakeIssuer, interval: Duration = .seconds(300)) -> RemoteKeySet {
        RemoteKeySet(url: "https://issuer/jwks", refreshInterval: interval) { url, limits throws(FetchError) in
            #expect(url == "https://issuer/jwks")
            #expect(limits.bytesMax == JWKSet.bytesMax)
            return try await issuer.call(url, limits)
        }
    }

    private func names(_ source: some KeySource) -> [String?]? {
        guard case .publicKeys(let set) = source.current.keys else { return nil }
        return set.keys.map(\.keyID)
    }

    @Test func `has no keys before the first fetch, and the issuer's after it`() async {
        let issuer = FakeIssuer(FakeIssuer.keys([first]))
        let remote = remote(issuer)
        #expect(remote.state == .waiting)
        #expect(remote.current.keys == nil)
        #expect(remote.version == 0)
        remote.poll(at: .zero)
        await remote.settle()
        #expect(remote.state == .current)
        #expect(names(remote) == ["first"])
        #expect(remote.version == 1)
        #expect(remote.current.version == 1)
    }

    @Test func `fetches again after the interval, and changes its version only with the keys`() async {
        let issuer = FakeIssuer(FakeIssuer.keys([first]))
        let remote = remote(issuer)
        for second in 0..<300 {
            remote.poll(at: .seconds(second))
            await remote.settle()
        }
        #expect(issuer.callCount == 1)
        remote.poll(at: .seconds(300))
        await remote.settle()
        #expect(issuer.callCount == 2)
        #expect(remote.version == 1)
        issuer.answer(FakeIssuer.keys([second]))
        remote.poll(at: .seconds(600))
        await remote.settle()
        #expect(names(remote) == ["second"])
        #expect(remote.version == 2)
    }

    @Test func `R83 any number of unknown keys causes one fetch in 30 seconds, and none of them waits`() async {
        let issuer = FakeIssuer(FakeIssuer.keys([first]))
        let remote = remote(issuer)
        remote.poll(at: .zero)
        await remote.settle()
        issuer.answer(FakeIssuer.keys([first, second]))
        for _ in 0..<1000 { remote.keyWasMissed(at: .milliseconds(29_999)) }
        await remote.settle()
        #expect(issuer.callCount == 1)
        issuer.hold()
        for _ in 0..<1000 { remote.keyWasMissed(at: .seconds(30)) }
        // The issuer has not answered, and everything that is asked for is there.
        #expect(names(remote) == ["first"])
        issuer.release()
        await remote.settle()
        #expect(issuer.callCount == 2)
        #expect(names(remote) == ["first", "second"])
        for _ in 0..<1000 { remote.keyWasMissed(at: .milliseconds(59_999)) }
        await remote.settle()
        #expect(issuer.callCount == 2)
    }

    @Test func `R83 threads that ask at once share one fetch`() async {
        let issuer = FakeIssuer(FakeIssuer.keys([first]))
        issuer.hold()
        let remote = remote(issuer)
        await withTaskGroup(of: Void.self) { group in
            for number in 0..<100 {
                group.addTask {
                    if number.isMultiple(of: 2) {
                        remote.poll(at: .seconds(1000))
                    } else {
                        remote.keyWasMissed(at: .seconds(1000))
                    }
                }
            }
        }
        issuer.release()
        await remote.settle()
        #expect(issuer.callCount == 1)
        #expect(names(remote) == ["first"])
    }

    @Test(
        arguments: [
            (.failure(.timedOut), "timed out"), (.failure(.tooLarge), "the answer is too large"),
            (.failure(.redirectRefused), "redirect to another host"), (.failure(.unreachable("x")), "unreachable: x"),
            (FakeIssuer.body([], status: 500), "status 500"), (FakeIssuer.body([], status: 204), "status 204"),
            (FakeIssuer.body(Array(#"{"keys":[]}"#.utf8), status: 404), "status 404"),
            (FakeIssuer.body([]), "no JSON: ends too early at byte 0"),
            (FakeIssuer.body(Array("<html>".utf8)), "no JSON: unexpected byte at byte 0"),
            (FakeIssuer.body(Array("{}".utf8)), "no JWK set: there is no array 'keys'"),
            (FakeIssuer.body(Array(#"{"keys":[{}"#.utf8)), "no JSON: ends too early at byte 11"),
        ] as [(Result<FetchResponse, FetchError>, String)])
    func `R84 a failed fetch keeps the last good keys and says why`(
        answer: Result<FetchResponse, FetchError>, reason: String
    ) async {
        let issuer = FakeIssuer(FakeIssuer.keys([first]))
        let remote = remote(issuer)
        remote.poll(at: .zero)
        await remote.settle()
        issuer.answer(answer)
        remote.poll(at: .seconds(300))
        await remote.settle()
        #expect(remote.state == .degraded(reason: reason))
        #expect(names(remote) == ["first"])
        #expect(remote.version == 1)
        issuer.answer(FakeIssuer.keys([second]))
        remote.poll(at: .seconds(305))
        await remote.settle()
        #expect(remote.state == .current)
        #expect(names(remote) == ["second"])
    }

    @Test func `R84 an issuer that is away at the start is degraded, not fatal, and is found later`() async {
        let issuer = FakeIssuer(.failure(.unreachable("refused")))
        let remote = remote(issuer)
        remote.poll(at: .zero)
        await remote.settle()
        #expect(remote.state == .degraded(reason: "unreachable: refused"))
        #expect(remote.current.keys == nil)
        #expect(remote.version == 0)
        remote.poll(at: .milliseconds(4_999))
        await remote.settle()
        #expect(issuer.callCount == 1)
        issuer.answer(FakeIssuer.keys([first]))
        remote.poll(at: .seconds(5))
        await remote.settle()
        #expect(names(remote) == ["first"])
    }

    @Test func `R84 nobody listening is survived by the real fetcher too`() async {
        let fetcher = HTTPFetcher(usesEnvironmentProxy: false)
        let remote = RemoteKeySet(
            url: "http://127.0.0.1:1/jwks", authorities: nil, refreshInterval: .seconds(300), fetcher: fetcher)
        remote.poll(at: .zero)
        await remote.settle()
        guard case .degraded(let reason) = remote.state else { return #expect(Bool(false)) }
        #expect(reason.hasPrefix("unreachable"))
    }

    @Test func `a key that the issuer withdraws is gone, were it the last one`() async {
        let issuer = FakeIssuer(FakeIssuer.keys([first, second]))
        let remote = remote(issuer)
        for (index, keys) in [[first, second], [second], []].enumerated() {
            issuer.answer(FakeIssuer.keys(keys))
            remote.poll(at: .seconds(300 * index))
            await remote.settle()
            #expect(names(remote) == keys.map(\.keyID))
            #expect(remote.version == UInt64(index + 1))
        }
        #expect(remote.state == .degraded(reason: "the set holds no key that can be used"))
    }

    @Test func `keys that are replaced count up, fixed ones stay`() throws {
        let replaceable = ReplaceableKeySource()
        #expect(replaceable.current.keys == nil)
        for keys in [[first], [first], [first, second]] { replaceable.replace(JWKSet(keys)) }
        replaceable.keyWasMissed(at: .zero)
        #expect(replaceable.version == 2)
        #expect(names(replaceable) == ["first", "second"])
        let fixed = FixedKeySource(.secret(try SymmetricKey(randomBytes(32))))
        fixed.keyWasMissed(at: .zero)
        #expect(fixed.version == 1)
        #expect(fixed.current.version == 1)
        guard case .secret = fixed.current.keys else { return #expect(Bool(false)) }
    }
}
