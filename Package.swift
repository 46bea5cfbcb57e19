// swift-tools-version: 6.2
import PackageDescription

let settings: [SwiftSetting] = [
    .enableUpcomingFeature("ExistentialAny"),
    .enableUpcomingFeature("InternalImportsByDefault"),
    .enableUpcomingFeature("MemberImportVisibility"),
    .enableExperimentalFeature("Lifetimes"),
    .strictMemorySafety(),
]

/// Settings of the modules that each exchange passes through: debug builds, which the tests run, check exclusive access
/// while they run; release builds leave it to the compiler (docs/decisions/exclusivity.md has the figures).
let dataPlane = settings + [.unsafeFlags(["-enforce-exclusivity=unchecked"], .when(configuration: .release))]

/// One Swift module and its unit tests; `uses` is the module's row in the table of docs/ARCHITECTURE.md.
func module(
    _ name: String, uses: [Target.Dependency] = [], testsUse: [Target.Dependency] = [],
    settings: [SwiftSetting] = settings
) -> [Target] {
    let target = Target.target(name: name, dependencies: uses, swiftSettings: settings)
    let tests = Target.testTarget(
        name: "\(name)Tests",
        dependencies: [.byName(name: name)] + uses + testsUse,
        swiftSettings: settings)
    return [target, tests]
}

/// Headers of a C library from the system, with inline functions for what Swift cannot import.
func cLibrary(_ name: String, pkgConfig: String? = nil, apt: String? = nil) -> Target {
    .systemLibrary(name: name, pkgConfig: pkgConfig, providers: apt.map { [.apt([$0])] })
}

let http = Target.Dependency.product(name: "HTTPTypes", package: "swift-http-types")
let logging = Target.Dependency.product(name: "Logging", package: "swift-log")
let arguments = Target.Dependency.product(name: "ArgumentParser", package: "swift-argument-parser")

var targets: [Target] = [
    cLibrary("CLinux"),
    cLibrary("COpenSSL", pkgConfig: "openssl", apt: "libssl-dev"),
    cLibrary("CHiredis", pkgConfig: "hiredis", apt: "libhiredis-dev"),
    cLibrary("CYAML", pkgConfig: "yaml-0.1", apt: "libyaml-dev"),
    cLibrary("CSQLite", pkgConfig: "sqlite3", apt: "libsqlite3-dev"),
    cLibrary("CCurl", pkgConfig: "libcurl", apt: "libcurl4-openssl-dev"),
    cLibrary("CArgon2", pkgConfig: "libargon2", apt: "libargon2-dev"),
    // The one C target with code: nghttp2's callbacks record events, and Swift takes them afterwards.
    .target(name: "CNghttp2", linkerSettings: [.linkedLibrary("nghttp2")]),
    .executableTarget(
        name: "Gateway",
        dependencies: [
            "AuthGateway", "GatewayConfig", "IdentityModel", "IdentityService", "Passwords", "Telemetry", arguments,
        ],
        swiftSettings: settings),
]
targets += module("BlockingWork")
targets += module("HTTPModel", uses: [http], settings: dataPlane)
targets += module("IdentityModel")
targets += module("Telemetry", uses: ["BlockingWork", logging], settings: dataPlane)
targets += module("EventLoop", uses: ["CLinux"], settings: dataPlane)
targets += module("JOSE", uses: ["COpenSSL"])
targets += module("Passwords", uses: ["BlockingWork", "CArgon2"])
targets += module("GatewayConfig", uses: ["CYAML", "IdentityModel"])
targets += module("Policy", uses: ["IdentityModel"])
targets += module("Storage", uses: ["BlockingWork", "CSQLite", "IdentityModel"])
targets += module("Outbound", uses: ["BlockingWork", "CCurl"])
targets += module("Redis", uses: ["CHiredis", "EventLoop"], testsUse: ["RedisTestSupport"])
targets += module("RateLimit", uses: ["Redis", "EventLoop", "Telemetry"], testsUse: ["RedisTestSupport"])
targets.append(
    .target(
        name: "RedisTestSupport", dependencies: ["CLinux", "EventLoop", "Redis"], path: "Tests/RedisTestSupport",
        swiftSettings: settings))
targets.append(
    .target(
        name: "TestSupport", dependencies: ["CLinux", "EventLoop"], path: "Tests/TestSupport", swiftSettings: settings))
targets += module(
    "ProxyCore", uses: ["BlockingWork", "CLinux", "CNghttp2", "COpenSSL", "EventLoop", "HTTPModel", "Telemetry", http],
    testsUse: ["TestSupport"], settings: dataPlane)
targets += module(
    "IdentityService",
    uses: ["HTTPModel", "IdentityModel", "JOSE", "Passwords", "Storage", http, logging])
targets += module(
    "AuthGateway",
    uses: [
        "COpenSSL", "EventLoop", "GatewayConfig", "HTTPModel", "IdentityModel", "IdentityService", "JOSE", "Outbound",
        "Passwords", "Policy", "ProxyCore", "RateLimit", "Redis", "Storage", "Telemetry", http, logging,
    ],
    testsUse: ["TestSupport"], settings: dataPlane)

let package = Package(
    name: "auth-gateway",
    products: [.executable(name: "auth-gateway", targets: ["Gateway"])],
    dependencies: [
        .package(url: "https://github.com/apple/swift-argument-parser", from: "1.8.0"),
        .package(url: "https://github.com/apple/swift-http-types", from: "1.8.0"),
        .package(url: "https://github.com/apple/swift-log", from: "1.16.0"),
    ],
    targets: targets)
