import com.sun.net.httpserver.HttpExchange;
import com.sun.net.httpserver.HttpServer;
import java.io.IOException;
import java.net.InetSocketAddress;
import java.nio.ByteBuffer;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.Executors;

/** An HTTP server that leaks 32 MiB outside of the heap with each request to /; /slow?FILE answers when the file is there. */
public class App {
    private static final List<ByteBuffer> KEPT = new ArrayList<>();

    public static void main(String[] arguments) throws IOException {
        HttpServer server = HttpServer.create(new InetSocketAddress("127.0.0.1", 8000), 0);
        server.createContext("/", App::answer);
        server.setExecutor(Executors.newCachedThreadPool());
        Runtime.getRuntime().addShutdownHook(new Thread(() -> {
            System.out.println("shutdown hook: finishing the requests at hand");
            server.stop(20);
            System.out.println("shutdown hook: done, bye");
        }));
        server.start();
        System.out.println("ready");
    }

    private static void answer(HttpExchange exchange) throws IOException {
        exchange.sendResponseHeaders(200, 0);
        try (var body = exchange.getResponseBody()) {
            if (exchange.getRequestURI().getPath().equals("/slow")) {
                body.write("begun\n".getBytes());
                body.flush();
                while (!Files.exists(Path.of(exchange.getRequestURI().getQuery()))) {
                    Thread.sleep(100);
                }
                body.write("finished\n".getBytes());
            } else {
                leak();
                body.write("hello\n".getBytes());
            }
        } catch (InterruptedException error) {
            throw new IOException(error);
        }
    }

    private static synchronized void leak() {
        KEPT.add(ByteBuffer.allocateDirect(32 << 20));  // it is zeroed, so the kernel has to give all of it
    }
}
