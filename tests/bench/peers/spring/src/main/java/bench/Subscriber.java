package bench;

import java.util.List;
import java.util.Map;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.common.TopicPartition;
import org.springframework.kafka.annotation.KafkaListener;
import org.springframework.kafka.listener.ConsumerSeekAware;
import org.springframework.stereotype.Component;

@Component
public class Subscriber implements ConsumerSeekAware {
    private final Audit audit;

    public Subscriber(Audit audit) {
        this.audit = audit;
    }

    @Override
    public void onPartitionsAssigned(Map<TopicPartition, Long> assigned, ConsumerSeekCallback seek) {
        assigned.keySet().forEach(p -> {
            long next = audit.next(p.topic(), p.partition());
            if (next < 0) seek.seekToBeginning(p.topic(), p.partition());
            else seek.seek(p.topic(), p.partition(), next);
        });
    }

    @KafkaListener(topics = "${TOPIC}")
    public void on(List<ConsumerRecord<String, byte[]>> records) throws Exception {
        audit.append(records);
    }
}
