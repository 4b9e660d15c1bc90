import java.nio.file.Path;
import java.util.Map;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.TimeUnit;
import org.elasticsearch.bootstrap.BootstrapInfo;
import org.elasticsearch.common.logging.LogConfigurator;
import org.elasticsearch.common.settings.Settings;
import org.elasticsearch.env.Environment;
import org.elasticsearch.node.InternalSettingsPreparer;
import org.elasticsearch.node.Node;

/** Runs one node until the process is told to end. Arguments: the folder of programs, the folder of configuration. */
public final class Launch {
    private static final String NAME = "switchboard";

    public static void main(String[] arguments) throws Exception {
        Path programs = Path.of(arguments[0]);
        Path configuration = Path.of(arguments[1]);

        // The order matters: a logger that is made before the first two lines stops the start.
        LogConfigurator.registerErrorListener();
        LogConfigurator.configureESLogging();
        LogConfigurator.loadLog4jPlugins();
        BootstrapInfo.init();
        Settings home = Settings.builder().put("path.home", programs).build();
        Environment environment = InternalSettingsPreparer.prepareEnvironment(home, Map.of(), configuration, () -> NAME);
        LogConfigurator.setNodeName(NAME);
        LogConfigurator.configure(environment, true);

        Node node = new Node(environment);
        CountDownLatch ended = new CountDownLatch(1);
        Runtime.getRuntime().addShutdownHook(new Thread(() -> end(node, ended)));
        node.start();
        ended.await();
    }

    private static void end(Node node, CountDownLatch ended) {
        try {
            node.prepareForClose();
            node.close();
            node.awaitClose(30, TimeUnit.SECONDS);
        } catch (Exception e) {
            System.err.println("closing: " + e);
        } finally {
            ended.countDown();
        }
    }
}
