import ArgumentParser
import AuthGateway
import GatewayConfig
import Logging
import Telemetry

/// `auth-gateway run`.
struct RunCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "run", abstract: "Serve until SIGTERM or SIGINT.",
        discussion: """
            SIGHUP reads the configuration again, SIGUSR1 opens log files again. A file that is not sound is refused, \
            and what was in force stays in force.
            """)

    @OptionGroup var options: ConfigurationOptions

    @Flag(help: "Development: makes the sample users, and allows to run as root.")
    var dev = false

    func run() throws {
        let result = ConfigurationLoader.load(path: options.config, environment: ProcessEnvironment.all)
        guard let configuration = result.configuration else {
            let problems = GatewayServer.check(result, file: options.config)
            throw Exit.refuse(problems.report)
        }
        let logger = EventLog.logger(label: "gateway", level: configuration.log.level)
        do {
            try GatewayServer.run(
                result,
                RunOptions(
                    configurationPath: options.config, isDevelopment: dev, environment: ProcessEnvironment.all,
                    version: GatewayVersion.current),
                logger: logger)
        } catch {
            Exit.printError(error.description)
            throw ExitCode(error.exitCode)
        }
    }
}

/// `auth-gateway check`.
struct CheckCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "check",
        abstract: "Read the configuration, its files and its tests, and report every problem. Opens no port.")

    @OptionGroup var options: ConfigurationOptions

    func run() throws {
        let result = ConfigurationLoader.load(path: options.config, environment: ProcessEnvironment.all)
        let problems = GatewayServer.check(result, file: options.config)
        if !problems.isEmpty { Exit.printError(problems.report) }
        guard !problems.contains(where: { $0.severity == .error }) else { throw ExitCode(1) }
        print("\(options.config): ok")
    }
}

/// `auth-gateway print`.
struct PrintCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "print",
        abstract: "Print what holds, with where each value came from; secrets are masked.")

    @OptionGroup var options: ConfigurationOptions

    @Flag(help: "Print the reference of all settings as Markdown instead.")
    var reference = false

    @Flag(help: "Print the JSON Schema of the configuration file instead.")
    var schema = false

    func run() throws {
        if reference {
            print(ConfigurationReference.markdown(), terminator: "")
        } else if schema {
            print(ConfigurationSchema.json(), terminator: "")
        } else {
            let (_, result) = try options.load()
            print(ConfigurationPrinter.yaml(result), terminator: "")
        }
    }
}

/// `auth-gateway version`.
struct VersionCommand: ParsableCommand {
    static let configuration = CommandConfiguration(commandName: "version", abstract: "Print the version.")

    func run() { print("auth-gateway \(GatewayVersion.current)") }
}
